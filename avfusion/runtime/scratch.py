"""Folders of temporary files of people's faces and voices, removed with the process, however that ends."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

PREFIX, _UNLOCKED = "avfusion-", "starting-avfusion-"
LOCK = "in-use"
_TRIES, _PAUSE_S = 40, 0.05


@contextmanager
def scratch_folder(owner: str) -> Iterator[Path]:
    """Provide a new folder `avfusion-<owner>-…`, removed at the end; first remove those that killed processes left.

    Raises:
        OSError: no folder of temporary files can be written to.
    """
    sweep_scratch()
    made = Path(tempfile.mkdtemp(prefix=f"{_UNLOCKED}{owner}-"))
    lock = FileLock(made / LOCK)
    lock.acquire(timeout=0)
    # Rename it only now, since other processes' sweeps look at this name.
    folder = made.with_name(PREFIX + made.name.removeprefix(_UNLOCKED))
    made.rename(folder)
    try:
        yield folder
    finally:
        remove_folder(folder)
        lock.release()


def sweep_scratch() -> None:
    """Remove folders that killed processes of this user left, recognised by their free locks."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        lock = folder / LOCK
        # In a shared folder, other users may choose the same name.
        if folder.is_symlink() or lock.is_symlink() or not lock.is_file() or lock.stat().st_uid != os.getuid():
            continue
        try:
            with FileLock(lock, timeout=0):
                remove_folder(folder)
        except Timeout:
            continue


def remove_folder(folder: Path) -> None:
    """Remove a folder, even while a process being killed still writes into it."""
    for _ in range(_TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(_PAUSE_S)
