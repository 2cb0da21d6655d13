"""data/sources.txt: the raw files of a corpus, one line each, so that DVC need not hash them.

A line is `path<TAB>size<TAB>hash`, the path relative to the corpus root. The hash of a video covers its size and its
first and last MiB; the hash of a crop folder (path with a final `/`) the sorted names and sizes of its files; the hash
of labels, lists and manifests their whole content.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from avfusion.corpora.adapters import open_corpus
from avfusion.corpora.layout import VIDEO_SUFFIXES, CorpusLayout, is_litter
from avfusion.corpora.settings import CorpusSettings
from avfusion.runtime.atomic import write_text
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.fingerprints import file_digest
from avfusion.runtime.quantities import byte_size, counted

MIB = 1 << 20
RESCAN = "run `avfusion scan`, then `dvc repro`"


@dataclass(frozen=True)
class Source:
    """Size in bytes and hash of one raw file or crop folder."""

    size: int
    digest: str


@dataclass(frozen=True)
class ScanSummary:
    """The result of a scan, and its differences from the scan before."""

    tracks: int
    sources: int
    bytes: int
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether nothing changed since the scan before."""
        return not (self.added or self.removed or self.changed)

    def __str__(self) -> str:
        change = (
            "no change"
            if self.same
            else f"{len(self.added)} added, {len(self.removed)} removed, {len(self.changed)} changed"
        )
        found = f"{counted(self.tracks, 'track')}, {counted(self.sources, 'source')}, {byte_size(self.bytes)}"
        return f"{found}: {change}"


def scan(root: Path, params: CorpusSettings, out: Path) -> ScanSummary:
    """Describe the raw files of the corpus in `root` (the folder of the data) and write the list to `out`."""
    layout = open_corpus(params, Path(root))
    sources = describe_sources(layout, Path(root))
    summary = compare(layout, sources, read_sources(out) if Path(out).is_file() else {})
    write_text(out, "".join(f"{path}\t{one.size}\t{one.digest}\n" for path, one in sorted(sources.items())))
    return summary


def describe_sources(layout: CorpusLayout, root: Path) -> dict[str, Source]:
    """Size and hash of every file and crop folder that the tracks use.

    Raises:
        BadInputError: a file cannot be read (a broken link, a pipe), or has a tab or line end in its name.
    """
    readers: dict[str, Callable[[Path], Source]] = {}
    readers |= {track.video_path: video_source for track in layout.tracks}
    readers |= {f"{path}/": crops_source for track in layout.tracks for path in track.crops_paths}
    for path in {track.labels_path for track in layout.tracks} | set(layout.extra_sources):
        readers[path] = video_source if path.lower().endswith(VIDEO_SUFFIXES) else content_source
    readers.pop("", None)
    sources: dict[str, Source] = {}
    faults = []
    for path, read in sorted(readers.items()):
        place = root / path
        # A bad video is refused when it is opened, for its track alone.
        if read is not video_source and not (place.is_dir() if read is crops_source else place.is_file()):
            faults.append(f"{path} (no {'folder' if read is crops_source else 'regular file'}, or a broken link)")
            continue
        try:
            sources[path] = read(place)
        except OSError as error:
            faults.append(f"{path} ({error.strerror})")
    if faults:
        names = ", ".join(faults)
        raise BadInputError(f"{len(faults)} files of the corpus cannot be read: {names}: repair or remove them")
    if odd := [path for path in sources if _is_odd(path)]:
        raise BadInputError(f"{odd[0]!r}: file names must be UTF-8 without tabs and line ends: rename it")
    return sources


def _is_odd(path: str) -> bool:
    try:
        path.encode()  # names of other encodings hold surrogates
    except UnicodeEncodeError:
        return True
    return any(mark in path for mark in "\t\n\r")


def video_source(path: Path) -> Source:
    """Hash of a video by its size and its first and last MiB.

    Anything but a regular file (a broken link, a device, a pipe) is not opened and counts as empty; opening it as a
    video later says what it is.
    """
    if not path.is_file():
        return Source(0, hashlib.sha256(b"0\n").hexdigest())
    size = path.stat().st_size
    digest = hashlib.sha256(f"{size}\n".encode())
    with open(path, "rb") as stream:
        digest.update(stream.read(MIB))
        if size > MIB:
            stream.seek(max(MIB, size - MIB))
            digest.update(stream.read(MIB))
    return Source(size, digest.hexdigest())


def content_source(path: Path) -> Source:
    """Hash of a small file by its whole content."""
    return Source(path.stat().st_size, file_digest(path))


def crops_source(folder: Path) -> Source:
    """Hash of a crop folder by the sorted names and sizes of its files; no image is opened."""
    with os.scandir(folder) as entries:
        # The size of a folder depends on the file system; a broken link has none.
        found = (entry for entry in entries if not is_litter(entry.name) and entry.is_file())
        files = {entry.name: entry.stat().st_size for entry in found}
    return Source(sum(files.values()), crops_digest(files))


def crops_digest(sizes: Mapping[str, int]) -> str:
    """Hash of a crop folder's regular files, without litter, by name and size."""
    listing = "".join(f"{name}\0{size}\n" for name, size in sorted(sizes.items()))
    return hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest()


def refuse_changed(video: Path, video_hash: str) -> None:
    """Check that a video has not changed since the scan, before deriving anything from it.

    Raises:
        BadInputError: it changed; results of the new file would count as results of the scanned one.
    """
    if video_source(video).digest != video_hash:
        raise BadInputError(f"{video} changed since the last scan: {RESCAN}")


def without_place(error: str, root: Path, path: str) -> str:
    """An error about the source `path`, without the corpus root, which must not get into results."""
    for place in (str((root / path).absolute()), str(root / path)):
        error = error.removeprefix(f"{place} ").replace(place, path)
    return error.replace(f"{root.absolute()}/", "").replace(f"{root}/", "")


def read_sources(path: str | Path) -> dict[str, Source]:
    """Read sources.txt: size and hash by path (crop folders with a final `/`).

    Raises:
        BadInputError: it is missing or a line is damaged.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadInputError(f"{path} is missing: {RESCAN}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} cannot be read ({error}): {RESCAN}") from None
    sources = {}
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else (), 1):
        try:
            name, size, digest = line.rsplit("\t", 2)
            sources[name] = Source(int(size), digest)
        except ValueError:
            raise BadInputError(f"{path}, line {number}: {line[:80]!r} is not `path, size, hash`: {RESCAN}") from None
    return sources


def compare(layout: CorpusLayout, now: Mapping[str, Source], before: Mapping[str, Source]) -> ScanSummary:
    """Differences between the sources and those of an earlier scan."""
    return ScanSummary(
        tracks=len(layout.tracks),
        sources=len(now),
        bytes=sum(source.size for source in now.values()),
        added=_sorted(now.keys() - before.keys()),
        removed=_sorted(before.keys() - now.keys()),
        changed=_sorted(path for path in now.keys() & before.keys() if now[path] != before[path]),
    )


def _sorted(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(paths))
