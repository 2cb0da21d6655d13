"""Digests of inputs, parameters and files, which tell whether a result is current."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np


def fingerprint(**parts: object) -> str:
    """Digest of named JSON-able parts, independent of their order; 32 hexadecimal digits."""
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


def arrays_digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Digest of arrays by name, their kinds, shapes and values, in the order given; 32 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
    return digest.hexdigest()[:32]


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_digest(folder: str | Path) -> str:
    """SHA-256 over the names and contents of a folder's files (recursively), in hexadecimal."""
    folder = Path(folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    listing = "".join(f"{path.relative_to(folder).as_posix()}\0{file_digest(path)}\n" for path in files)
    return hashlib.sha256(listing.encode()).hexdigest()
