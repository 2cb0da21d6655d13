"""`dvc status` on the per-track outs of a corpus of 600 tracks: four folders of 600 files, `persist: true`.

A scratch project, small files of random bytes: DVC remembers hashes by inode, size and time, so what a file holds does
not matter to a status. Five rounds, the minimum counts; also one with a file of each folder changed.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from avfusion.runtime.project import disable_telemetry

STORES, FILES, ROUNDS, BUDGET_S = ("labels", "frames", "audio", "features"), 600, 5, 10
DVC = Path(sys.executable).with_name("dvc")


def make_project(root: Path) -> None:
    """A git and DVC project whose one stage has the four folders as outs, run and committed."""
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    subprocess.run([DVC, "init", "--quiet"], cwd=root, check=True)
    outs = []
    for store in STORES:
        folder = root / "data" / store
        folder.mkdir(parents=True)
        for number in range(FILES):
            (folder / f"track-{number:03d}.bin").write_bytes(os.urandom(2000))
        outs.append(f"      - data/{store}:\n          persist: true\n")
    (root / "dvc.yaml").write_text('stages:\n  stores:\n    cmd: "true"\n    outs:\n' + "".join(outs))
    subprocess.run([DVC, "repro", "--quiet"], cwd=root, check=True)


def status(root: Path) -> tuple[float, str]:
    """Wall seconds of one `dvc status`, and what it said."""
    started = time.perf_counter()
    done = subprocess.run([DVC, "status"], cwd=root, check=True, capture_output=True, text=True)
    return time.perf_counter() - started, done.stdout


def main() -> None:
    """Print both times."""
    disable_telemetry()
    with tempfile.TemporaryDirectory(prefix="avfusion-dvc-") as folder:
        root = Path(folder)
        make_project(root)
        clean = [status(root) for _ in range(ROUNDS)]
        assert all("up to date" in said for _, said in clean), clean[0][1]
        for store in STORES:
            (root / "data" / store / "track-007.bin").write_bytes(os.urandom(2000))
        changed = [status(root) for _ in range(ROUNDS)]
        assert all(f"data/{store}" in said for _, said in changed for store in STORES), changed[0][1]
    best, best_changed = (min(seconds for seconds, _ in runs) for runs in (clean, changed))
    print(f"dvc status on {len(STORES)} folders of {FILES} files: {best:.1f} s up to date, {best_changed:.1f} s with a "
          f"file of each changed; budget {BUDGET_S} (load {os.getloadavg()[0]:.1f})")  # fmt: skip


if __name__ == "__main__":
    main()
