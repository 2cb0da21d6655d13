"""Which files of a folder are opened, also by libraries below Python."""

import ctypes
import os
import struct
from pathlib import Path
from typing import Self

_IN_OPEN, _IN_NONBLOCK = 0x20, 0o4000


class OpenedFiles:
    """Watches a folder from now on, until the block ends (Linux: inotify)."""

    def __init__(self, folder: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._events = libc.inotify_init1(_IN_NONBLOCK)
        if self._events < 0 or libc.inotify_add_watch(self._events, os.fsencode(folder), _IN_OPEN) < 0:
            raise OSError(ctypes.get_errno(), "inotify")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._events)

    def names(self) -> set[str]:
        """Files that were opened since the last call."""
        try:
            data = os.read(self._events, 1 << 16)
        except BlockingIOError:
            return set()
        found, at = set(), 0
        while at < len(data):
            length = struct.unpack_from("iIII", data, at)[3]
            found.add(os.fsdecode(data[at + 16 : at + 16 + length].rstrip(b"\0")))
            at += 16 + length
        return found - {""}  # the folder itself
