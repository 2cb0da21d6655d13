"""Find the videos and sound files behind files, folders and patterns on the command line."""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from avfusion.corpora.layout import VIDEO_SUFFIXES, is_litter
from avfusion.runtime.quantities import counted

AUDIO_SUFFIXES = (
    *(".wav", ".m4a", ".mp3", ".flac", ".ogg", ".aac", ".opus", ".oga", ".mka"),
    *(".m4b", ".aif", ".aiff", ".caf", ".w64", ".amr", ".wma"),
)
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

    In folders and patterns, files count as videos or sound by their suffix; sound beside a video of the same name is
    taken for that video's, and left out with a note, as are files of other suffixes. Hidden files and folders, and
    outputs of `predict`, are ignored silently. Links to folders are not followed.
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
        known = (*VIDEO_SUFFIXES, *AUDIO_SUFFIXES)
        pictured = {file.with_suffix("") for file in files if _is_video(file.name)}
        found = [file for file in files if _is_video(file.name) or file.name.lower().endswith(AUDIO_SUFFIXES)]
        tracks = [file for file in found if not _is_video(file.name) and file.with_suffix("") in pictured]
        chosen = [file for file in found if file not in tracks]
        left = [file for file in files if not file.name.lower().endswith((*known, *_OWN_ENDINGS))]
        for kind, without in (("without the suffix of a video or sound", left), ("of a video's sound", tracks)):
            if without:
                shown = ", ".join(file.name for file in without[:_SHOWN]) + (", …" if len(without) > _SHOWN else "")
                notes.append(f"{argument}: {counted(len(without), 'file')} {kind} left out: {shown}")
        if not chosen:
            what = "holds no video" if argument.is_dir() else "matches no video"
            faults.append((argument, f"{what} (files that end with {', '.join(known)})"))
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
