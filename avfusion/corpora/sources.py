"""data/sources.txt: the raw files of a corpus, one line each, so that DVC need not hash them.

A line is `path<TAB>size<TAB>hash`, the path relative to the corpus root, or, with a final `/`, of a folder of crops.
The hash covers the whole content of a file, and the names and contents of a folder's files. It is read once and then
remembered (`avfusion.corpora.source_hashes`).
"""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from avfusion.corpora.adapters import open_corpus
from avfusion.corpora.layout import VIDEO_SUFFIXES, CorpusLayout
from avfusion.corpora.settings import CorpusSettings
from avfusion.corpora.source_hashes import RESCAN, Source, SourceMemory
from avfusion.runtime.atomic import write_text
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.progress import TaskProgress
from avfusion.runtime.quantities import byte_size, counted

THREADS = 8  # hide the latency of network disks


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


def scan(
    root: Path, params: CorpusSettings, out: Path, memory: Path | None = None, *, layout: CorpusLayout | None = None
) -> ScanSummary:
    """Describe the raw files of the corpus in `root` (the folder of the data) and write the list to `out`.

    Args:
        memory: As for `describe_sources`.
        layout: The corpus, if it is open already.
    """
    layout = layout or open_corpus(params, Path(root))
    sources = describe_sources(layout, Path(root), memory)
    summary = compare(layout, sources, read_sources(out) if Path(out).is_file() else {})
    write_text(out, "".join(f"{path}\t{one.size}\t{one.digest}\n" for path, one in sorted(sources.items())))
    return summary


def describe_sources(layout: CorpusLayout, root: Path, memory: Path | None = None) -> dict[str, Source]:
    """Size and hash of every file and crop folder that the tracks use.

    Args:
        memory: File that remembers the hashes of files that did not change; None: all files are read.

    Raises:
        BadInputError: a file cannot be read (a broken link, a pipe), or has a tab or line end in its name.
    """
    folders = {f"{path}/" for track in layout.tracks for path in track.crops_paths}
    files = {path for track in layout.tracks for path in (track.video_path, track.labels_path)} - {""}
    files |= set(layout.extra_sources)
    # A bad video is refused when it is opened, for its track alone.
    videos = {track.video_path for track in layout.tracks}
    videos |= {path for path in files if path.lower().endswith(VIDEO_SUFFIXES)}
    faults, due = [], []
    for path in sorted(folders | files):
        is_folder = path in folders
        if path in videos or ((root / path).is_dir() if is_folder else (root / path).is_file()):
            due.append(path)
        else:
            faults.append(f"{path} (no {'folder' if is_folder else 'regular file'}, or a broken link)")
    remembered = SourceMemory(memory)

    def read(path: str) -> Source | OSError:
        try:
            return remembered.source(root / path, is_folder=path in folders)
        except OSError as error:
            return error

    sources: dict[str, Source] = {}
    pool = ThreadPoolExecutor(THREADS)
    try:
        with TaskProgress("reading raw files", [1.0] * len(due), Console(stderr=True), brief=True) as progress:
            for path, found in zip(due, pool.map(read, due), strict=True):
                progress.advance(1.0)
                if isinstance(found, OSError):
                    faults.append(f"{path} ({found.strerror})")
                else:
                    sources[path] = found
    finally:
        pool.shutdown(cancel_futures=True)
        remembered.save(whole=len(sources) == len(due))
    if faults:
        names = ", ".join(sorted(faults))
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
