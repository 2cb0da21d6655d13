"""What files of tensors claim to hold, checked before anything is allocated for it."""

import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from safetensors import SafetensorError, safe_open

from avfusion.runtime.quantities import byte_size
from avfusion.runtime.work_limits import TooCostlyError

MOST_INDEX_BYTES = 10_000_000  # names and shapes of some 100,000 tensors
MOST_GROWTH = 2  # torch does not compress
_ZIP, _END, _END64 = b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06"
_END_BYTES, _END64_BYTES, _LOCATOR_BYTES, _COMMENT_BYTES = 22, 56, 20, 65_535


def open_tensors(path: str | Path) -> Any:
    """A safetensors file of numpy arrays, opened by `safe_open`, for a `with` statement.

    Raises:
        SafetensorError: it is none, or as `check_header`.
    """
    check_header(Path(path))
    return safe_open(path, framework="numpy")


def load_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of a safetensors file.

    Raises:
        SafetensorError: as `open_tensors`.
    """
    with open_tensors(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def check_header(path: Path) -> None:
    """Check the length that a safetensors file gives of its header, before the header is read.

    Raises:
        SafetensorError: it is longer than the file, or than names and shapes of any network.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if 8 <= size < 8 + length:
        raise SafetensorError(f"its header claims {byte_size(length)}, the file has {byte_size(size)}")
    if length > MOST_INDEX_BYTES:
        raise SafetensorError(f"its header has {byte_size(length)}: at most {byte_size(MOST_INDEX_BYTES)} are read")


def check_archive(path: Path) -> None:
    """Check the sizes that a checkpoint of PyTorch (a zip file, or a plain pickle) claims, before it is unpacked.

    Raises:
        TooCostlyError: it would unpack to more than torch writes into a file of its size, or has an absurd index.
        zipfile.BadZipFile: it is a damaged zip file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(len(_ZIP)) != _ZIP:
            return
        _check_index("list of parts", _directory_bytes(file, size))
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
    if (unpacked := sum(part.file_size for part in parts)) > MOST_GROWTH * size:
        raise TooCostlyError(f"it would unpack to {byte_size(unpacked)}, the file has {byte_size(size)}")
    _check_index("pickle", max((part.file_size for part in parts if part.filename.endswith(".pkl")), default=0))


def _check_index(name: str, length: int) -> None:
    if length > MOST_INDEX_BYTES:
        raise TooCostlyError(f"its {name} has {byte_size(length)}: at most {byte_size(MOST_INDEX_BYTES)} are read")


def _directory_bytes(file: BinaryIO, size: int) -> int:
    """Length of a zip file's central directory, from the record at its end; 0 without such a record."""
    file.seek(max(0, size - _COMMENT_BYTES - _END_BYTES - _LOCATOR_BYTES - _END64_BYTES))
    tail = file.read()
    end = tail.rfind(_END)
    if end < 0:
        return 0
    end64 = end - _LOCATOR_BYTES - _END64_BYTES
    if end64 >= 0 and tail.startswith(_END64, end64):
        return int.from_bytes(tail[end64 + 40 : end64 + 48], "little")
    return int.from_bytes(tail[end + 12 : end + 16], "little")
