"""Whether the project's state is one that may bring forth a champion: committed, and outside an experiment."""

import os
import subprocess
from pathlib import Path

WRITTEN_BY_STAGES = ("dvc.lock", "reports/")


def provisional_origin(root: Path) -> str:
    """Why a model that is registered now may not become champion by itself; "" if nothing speaks against it.

    That is an experiment of DVC (`dvc exp run`, in the workspace, queued or in a temporary folder), or files that git
    tracks and that differ from the last commit; those that stages write do not count. Without git all is committed.
    """
    if any(os.environ.get(name) for name in ("DVC_EXP_NAME", "DVC_EXP_BASELINE_REV")):
        return f"made by the experiment {os.environ.get('DVC_EXP_NAME') or '(without name)'} of `dvc exp run`"
    changed = [path for path in _changed_files(root) if not path.startswith(WRITTEN_BY_STAGES)]
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        return f"made from files that are not committed ({changed[0]}{more})"
    return ""


def _changed_files(root: Path) -> list[str]:
    """Tracked files below the project that differ from the last commit."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "diff", "--name-only", "--relative", "-z", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return sorted(filter(None, done.stdout.split("\0")))
