"""Hashes of raw files and crop folders by their whole content, read once and remembered.

The memory is a file of this machine alone: per path a hash of what the file system says about the files (size, inode,
times of the last change of content and of the file's state) and the hash of their content. While the first stays, the
second holds. An edit that sets the time of modification back changes the other time. The hashes of content are the same
on every machine.
"""

import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from avfusion.corpora.layout import is_litter
from avfusion.runtime.atomic import write_text
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.fingerprints import file_digest

MEMORY = Path(".avfusion", "sources.json")  # below the project
RESCAN = "run `avfusion scan`, then `dvc repro`"
_SETTLED_S = 2.0  # clocks of file systems tick in up to two seconds, within which another edit leaves no trace
_READ_BYTES = 1 << 16


@dataclass(frozen=True)
class Source:
    """Size in bytes and hash of one raw file or crop folder."""

    size: int
    digest: str


def file_source(path: Path) -> Source:
    """Size and hash of a file's content.

    Anything but a regular file (a broken link, a device, a pipe) is not opened and counts as empty; opening it as a
    video later says what it is.
    """
    return SourceMemory().source(path)


def crops_source(folder: Path) -> Source:
    """Size and hash of a crop folder: names and contents of its regular files, without litter."""
    return SourceMemory().source(folder, is_folder=True)


def crops_digest(contents: Mapping[str, str]) -> str:
    """Hash of a crop folder from `crop_digest` of its files by name."""
    listing = "".join(f"{name}\0{digest}\n" for name, digest in sorted(contents.items()))
    return hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest()


def crop_digest(file: str) -> str:
    """SHA-256 of a file's content in hexadecimal; "" if it cannot be read."""
    try:
        handle = os.open(file, os.O_RDONLY)  # there are millions, and `open` needs more system calls
    except OSError:
        return ""
    try:
        part = os.read(handle, _READ_BYTES)
        digest = hashlib.sha256(part)
        while len(part) == _READ_BYTES:
            part = os.read(handle, _READ_BYTES)
            digest.update(part)
        return digest.hexdigest()
    except OSError:
        return ""
    finally:
        os.close(handle)


def refuse_changed(video: Path, video_hash: str) -> None:
    """Check that a video has not changed since the scan, before deriving anything from it.

    Raises:
        BadInputError: it changed; results of the new file would count as results of the scanned one.
    """
    if file_source(video).digest != video_hash:
        raise BadInputError(f"{video} changed since the last scan: {RESCAN}")


class SourceMemory:
    """Hashes of sources, and the file that remembers them; None: nothing is remembered."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._known = _read(file) if file else {}
        self._seen: dict[str, list[str]] = {}

    def source(self, place: Path, *, is_folder: bool = False) -> Source:
        """Size and hash of a file or a crop folder, whose content is read if it may have changed.

        Raises:
            OSError: it cannot be read.
        """
        began = time.time()
        files = _files_of(place, is_folder)
        state = _state(files)
        key = os.path.abspath(place)
        known = self._known.get(key, ["", ""])
        digest = known[1] if known[0] == state else _content(place, files, is_folder)
        if max((one.st_ctime for one in files.values()), default=0.0) < began - _SETTLED_S:
            self._seen[key] = [state, digest]
        return Source(sum(one.st_size for one in files.values()), digest)

    def save(self, *, whole: bool) -> None:
        """Write the file; `whole`: all sources were seen, so that others are forgotten."""
        kept = self._seen if whole else self._known | self._seen
        if self._file and kept != self._known:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_text(self._file, json.dumps(kept, indent=0, sort_keys=True))


def _files_of(place: Path, is_folder: bool) -> dict[str, os.stat_result]:
    """What the file system says about the regular files of a source, by name."""
    if not is_folder:
        return {"": place.stat()} if place.is_file() else {}
    with os.scandir(place) as entries:
        found = {entry.name: entry.stat() for entry in entries if not is_litter(entry.name) and entry.is_file()}
    return {name: found[name] for name in sorted(found)}


def _state(files: Mapping[str, os.stat_result]) -> str:
    listing = "".join(
        [f"{name}\0{s.st_size}\0{s.st_ino}\0{s.st_mtime_ns}\0{s.st_ctime_ns}\n" for name, s in files.items()]
    )
    return hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest()


def _content(place: Path, files: Mapping[str, os.stat_result], is_folder: bool) -> str:
    if is_folder:
        return crops_digest({name: crop_digest(f"{place}{os.sep}{name}") for name in files})
    return file_digest(place) if files else hashlib.sha256().hexdigest()


def _read(file: Path) -> dict[str, list[str]]:
    """What is remembered; nothing without a readable file."""
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        return {str(key): [str(state), str(digest)] for key, (state, digest) in stored.items()}
    except (OSError, ValueError, TypeError, AttributeError):  # the memory only saves time
        return {}
