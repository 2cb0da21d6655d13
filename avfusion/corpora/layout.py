"""The layout of a corpus folder as an adapter finds it, before reading any file's content."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from avfusion.runtime.errors import BadInputError

TRACK_NAME = re.compile(r"[\w.-]+( [\w.-]+)*")
LONGEST_NAME = 200  # bytes in UTF-8; file systems allow 255, including endings and marks of unfinished files
VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg"),
    *(".wmv", ".flv", ".3gp", ".ts", ".mts", ".m2ts", ".ogv"),
)
Side = Literal["", "left", "right"]


@dataclass(frozen=True)
class RawTrack:
    """One annotated face and its files, relative to the corpus root ("" for no file).

    Attributes:
        track: Name, unique regardless of case, since it becomes a file name.
        video: Base video; tracks of one video share sound and time line.
        split: train, val, test, or "" for none.
        crops_paths: Folders with its face crops, named by video frame from 1.
        label_format: "aff-wild2" for annotation files of Aff-Wild2, "csv" for own labels, "ravdess" or "cremad" for a
            label that the file's name says (`avfusion.corpora.acted_names`).
        label_delay_s: Seconds by which the labels lag behind the video.
        side: Side of the track's person among two in the video; "" for the main person.
        group: Name of what it shares with other tracks that are not independent of it: an original recording, a session
            or a person (`avfusion.corpora.groups`). Default: its video.
        attributes: Names and categories of its person's attributes ("" for none), the same names in all tracks.
    """

    track: str
    video: str
    split: str
    video_path: str
    crops_paths: tuple[str, ...] = ()
    labels_path: str = ""
    warnings: tuple[str, ...] = ()
    label_format: str = "aff-wild2"
    label_delay_s: float = 0.0
    side: Side = ""
    group: str = ""
    attributes: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        """Give a track without group that of its video alone."""
        object.__setattr__(self, "group", self.group or self.video)


@dataclass(frozen=True)
class CorpusLayout:
    """The tracks of a corpus, the other files that they depend on, and notes that concern no single track."""

    tracks: tuple[RawTrack, ...]
    extra_sources: tuple[str, ...] = ()  # lists, manifests, doubles; relative to the root
    notes: tuple[str, ...] = field(default=())


def name_fault(name: str) -> str:
    """Why a name cannot be a file name; "" if it can."""
    if not TRACK_NAME.fullmatch(name) or ".." in name:
        return f"{name!r} has characters other than letters, digits, '_', '-', '.', single spaces"
    if name.startswith("."):
        return f"{name!r} begins with a '.', as hidden and unfinished files do"
    if len(name.encode()) > LONGEST_NAME:
        return f"{name!r} is {len(name.encode())} bytes long: must be at most {LONGEST_NAME}"
    return ""


def split_side(track: str) -> tuple[str, Side]:
    """The name of a track without `_left` or `_right`, and that side; no side if no name would be left."""
    sides: tuple[Side, ...] = ("left", "right")
    for side in sides:
        base = track.removesuffix(f"_{side}")
        if base != track and not name_fault(base):
            return base, side
    return track, ""


def check_track_names(tracks: list[RawTrack]) -> None:
    """Refuse names that cannot be file names, and names that differ only by case.

    Raises:
        BadInputError: all such names, in one message.
    """
    faults = []
    seen: dict[str, str] = {}
    for track in tracks:
        if fault := name_fault(track.track):
            faults.append(fault)
        other = seen.setdefault(track.track.casefold(), track.track)
        if other != track.track:
            faults.append(f"{other!r} and {track.track!r} differ only by case")
    if faults:
        raise BadInputError(f"track names become file names, and some cannot: {'; '.join(faults)}: rename them")


def require_folder(root: Path, *names: str) -> None:
    """Check that `root` and the named sub-folders exist.

    Raises:
        BadInputError: a folder is missing; the message says what was found instead.
    """
    wanted = ", ".join(f"{name}/" for name in names)
    if not root.is_dir():
        above = next(folder for folder in root.absolute().parents if folder.is_dir())
        raise BadInputError(
            f"corpus.root {root} is missing (a folder with {wanted} was looked for); "
            f"{above} has {contents(above)}: set corpus.root in params.yaml, or `avfusion preset NAME --root FOLDER`"
        )
    missing = [name for name in names if not (root / name).is_dir()]
    if missing:
        inside = [child.name for child in _folders(root) if all((child / name).is_dir() for name in names)]
        hint = f"did you mean {root / inside[0]}?" if inside else "set corpus.root in params.yaml"
        raise BadInputError(
            f"corpus.root {root} has no folder {', '.join(f'{name}/' for name in missing)}; "
            f"found instead: {contents(root)}: {hint}"
        )


def contents(folder: Path, limit: int = 8) -> str:
    """The first names in a folder, for messages."""
    names = sorted(f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir())
    if not names:
        return "nothing"
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not is_litter(path.name))


def walk_files(folder: Path) -> Iterator[Path]:
    """All files below a folder in sorted order, without litter; links are followed, but never in circles.

    Raises:
        BadInputError: a folder may not be listed.
    """

    def refuse(error: OSError) -> None:
        raise BadInputError(
            f"{error.filename} cannot be listed ({error.strerror}): its files would be missed"
        ) from None

    seen = set()
    for here, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        real = os.path.realpath(here)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not is_litter(name))
        yield from (Path(here, name) for name in sorted(files) if not is_litter(name))


def is_litter(name: str) -> bool:
    """Whether a file or folder is hidden, or the extra folder in archives made on a Mac."""
    return name.startswith(".") or name == "__MACOSX"
