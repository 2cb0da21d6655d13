"""Write files whole or not at all, and lock out other processes."""

import errno
import hashlib
import json
import math
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from avfusion.runtime.errors import AVFusionError

TEMPORARY_PREFIX = ".partial-"
FULL_BYTES = 1 << 16
LEFT_S = 3600  # after which a temporary file that nobody writes to is a killed process's
NAME_BYTES = 255  # of a file's name; few file systems allow more or less


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Provide a temporary path in the same folder, which replaces `path` when the block ends without an error.

    It keeps the suffix, by which many writers choose the format. On an error the temporary file is removed and `path`
    stays unchanged.

    Raises:
        OSError: the system refuses (with the file's name), or the disk is full, also if a library hides it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(_temporary_name(path))
    try:
        yield temporary
        with suppress(OSError):  # not every file system has permissions
            temporary.chmod(0o666 & ~_umask())  # safetensors makes files that only their owner may read
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(temporary)):  # a failing write names no file
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    except AVFusionError:
        raise
    except Exception as error:  # soundfile, safetensors and torch raise their own errors for failed writes
        if isinstance(refused := error.__context__, OSError) and refused.errno is not None:
            raise OSError(refused.errno, refused.strerror, str(path)) from error
        if _is_full(path.parent) or f"os error {errno.ENOSPC}" in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _temporary_name(path: Path) -> str:
    """With the file's own name, or a digest of it where that would be too long."""
    name = f"{TEMPORARY_PREFIX}{os.getpid()}-{path.name}"
    if len(os.fsencode(name)) <= NAME_BYTES:
        return name
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
    return f"{TEMPORARY_PREFIX}{os.getpid()}-{digest}{path.suffix}"


def remove_left(folder: Path) -> None:
    """Remove the temporary files that killed processes left in a folder, recognised by their age."""
    with suppress(OSError):
        for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
            if path.is_file() and time.time() - path.stat().st_mtime > LEFT_S:
                path.unlink()


def _umask() -> int:
    """The process's umask; reading it requires setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _is_full(folder: Path) -> bool:
    """Whether the disk is full, up to a remainder too small for the next piece of the file."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize < FULL_BYTES


@contextmanager
def atomic_folder(folder: Path, check: Callable[[Path], None]) -> Iterator[Path]:
    """Provide a temporary folder beside `folder`, which replaces it at the end unless `check` of it raises."""
    temporary, old = (folder.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{n}-{folder.name}") for n in ("new", "old"))
    if left := _left_aside(folder):
        os.replace(left, folder)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        check(temporary)
        if folder.exists():
            os.replace(folder, old)
        try:
            os.replace(temporary, folder)
        except OSError:
            if old.exists():
                os.replace(old, folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _left_aside(folder: Path) -> Path | None:
    """The former content of `folder`, if a run ended after moving it aside and before putting the new one in place."""
    if folder.exists() or not folder.parent.is_dir():
        return None
    name = re.compile(rf"{re.escape(TEMPORARY_PREFIX)}\d+-old-{re.escape(folder.name)}")
    aside = [path for path in folder.parent.iterdir() if name.fullmatch(path.name)]
    return max(aside, key=lambda path: path.stat().st_mtime, default=None)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text with `\\n` line ends, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, value: object) -> None:
    """Write sorted, indented JSON, whole or not at all; NaN and infinities become null."""
    write_text(path, json.dumps(_finite(value), sort_keys=True, indent=2, ensure_ascii=False) + "\n")


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


@contextmanager
def exclusive_lock(path: str | Path, owner: str) -> Iterator[None]:
    """Hold the lock file `path`, or fail at once and say that `owner` is already running."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise AVFusionError(
            f"{owner} is already running (it holds {path}): wait for it, or end that process, and start again"
        ) from None
    try:
        yield
    finally:
        lock.release()
