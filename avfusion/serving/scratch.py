"""The folder in which a server keeps uploads and results; it goes with the server, however that ends."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

PREFIX = "avfusion-serve-"
_UNLOCKED = "avfusion-start-"
LOCK = "in-use"
_TRIES, _PAUSE_S = 40, 0.05


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Give a new folder of this process alone, and remove it at the end; those that killed servers left go first."""
    sweep()
    made = Path(tempfile.mkdtemp(prefix=_UNLOCKED))
    lock = FileLock(made / LOCK)
    lock.acquire(timeout=0)
    # Only now it gets a name that other servers' sweeps look at.
    folder = made.with_name(PREFIX + made.name.removeprefix(_UNLOCKED))
    made.rename(folder)
    try:
        yield folder
    finally:
        remove_folder(folder)
        lock.release()


def sweep() -> None:
    """Remove what servers of this user left that were killed: their locks are free."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        lock = folder / LOCK
        # In a shared folder other users may choose the same name.
        if folder.is_symlink() or lock.is_symlink() or not lock.is_file() or lock.stat().st_uid != os.getuid():
            continue
        try:
            with FileLock(lock, timeout=0):
                remove_folder(folder)
        except Timeout:
            continue


def remove_folder(folder: Path) -> None:
    """Remove a folder that a process which is just being killed may still write into."""
    for _ in range(_TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(_PAUSE_S)
