"""`make accept`: what the project promises, tried in fresh clones, one line each.

    python acceptance/run.py [--only NAME …] [--workspace FOLDER]

The clones are kept in the workspace (default: a new temporary folder), so that a line can be tried again alone. The
whole takes about two hours on 2 cores: `demo` renders and trains from nothing, and four lines do so again.
"""

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from promises import PROMISES
from workspace import Clone


def main() -> int:
    """Try the promises; the exit code is 1 if any is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="*", choices=list(PROMISES), help="these promises (demo is run where it is needed)"
    )
    parser.add_argument("--workspace", type=Path, default=None)
    arguments = parser.parse_args()
    workspace = arguments.workspace or Path(tempfile.mkdtemp(prefix="avfusion-accept-"))
    print(f"in {workspace}")
    first = Clone(workspace / "first")
    first.must("make", "setup")
    broken = 0
    for name, promise in PROMISES.items():
        if arguments.only and name not in arguments.only:
            continue
        broken += not _try(name, promise, first, workspace)
    print(f"{broken} broken" if broken else "all kept")
    return int(broken > 0)


def _try(name: str, promise: Callable[[Clone, Path], str], first: Clone, workspace: Path) -> bool:
    started = time.perf_counter()
    try:
        verdict, said = "kept", promise(first, workspace)
    except Exception as error:  # one broken promise must not hide the others
        verdict, said = "BROKEN", str(error) if isinstance(error, AssertionError) else traceback.format_exc(limit=-2)
    print(f"{verdict:6}  {name:12} {said}  [{time.perf_counter() - started:.0f} s]", flush=True)
    return verdict == "kept"


if __name__ == "__main__":
    sys.exit(main())
