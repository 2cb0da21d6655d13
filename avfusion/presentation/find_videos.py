"""Find the videos behind files, folders and patterns on the command line."""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from avfusion.corpora.layout import VIDEO_SUFFIXES, is_litter
from avfusion.runtime.quantities import counted

_SHOWN = 5
_OWN_ENDINGS = (".csv", ".parquet", ".json", ".txt", ".png", ".html", ".overlay.mp4")  # outputs of `predict`


@dataclass(frozen=True)
class FoundVideos:
    """The videos behind arguments.

    Attributes:
        videos: in the order of the arguments, within a folder by name, without duplicates.
        notes: files of folders and patterns that were left out.
    """

    videos: tuple[Path, ...]
    notes: tuple[str, ...]
    faults: tuple[tuple[Path, str], ...]


def find_videos(arguments: Sequence[Path]) -> FoundVideos:
    """Expand folders (recursively) and patterns; a file is accepted whatever its name.

    In folders and patterns, files count as videos by their suffix. Hidden files and folders, and outputs of `predict`,
    are ignored silently, other files with a note. Links to folders are not followed.
    """
    videos: dict[Path, None] = {}
    notes: list[str] = []
    faults: list[tuple[Path, str]] = []
    for argument in arguments:
        if argument.is_dir():
            files = list(_files_below(argument))
        elif any(sign in str(argument) for sign in "*?[") and not argument.exists():
            files = [
                file for place in sorted(glob.glob(str(argument), recursive=True)) for file in _files_of(Path(place))
            ]
        else:
            videos[argument] = None
            continue
        chosen = [file for file in files if _is_video(file.name)]
        left = [file.name for file in files if not file.name.lower().endswith((*VIDEO_SUFFIXES, *_OWN_ENDINGS))]
        if left:
            shown = ", ".join(left[:_SHOWN]) + (", …" if len(left) > _SHOWN else "")
            notes.append(f"{argument}: {counted(len(left), 'file')} without the suffix of a video left out: {shown}")
        if not chosen:
            what = "holds no video" if argument.is_dir() else "matches no video"
            faults.append((argument, f"{what} (files that end with {', '.join(VIDEO_SUFFIXES)})"))
        videos |= dict.fromkeys(chosen)
    return FoundVideos(tuple(videos), tuple(notes), tuple(faults))


def _is_video(name: str) -> bool:
    return name.lower().endswith(VIDEO_SUFFIXES) and not name.lower().endswith(_OWN_ENDINGS)


def _files_of(place: Path) -> Iterator[Path]:
    return _files_below(place) if place.is_dir() else iter([place])


def _files_below(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_litter(name))
        for name in sorted(names):
            if not is_litter(name):
                yield Path(place) / name
