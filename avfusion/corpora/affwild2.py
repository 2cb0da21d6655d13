"""Aff-Wild2 as its owners deliver it (arXiv 1811.07770), and the demo corpus, which has the same layout.

<root>/videos/**/<video>.mp4            raw videos in any sub-folders
<root>/cropped_aligned*/<track>/*.jpg   face crops numbered by video frame; several such folders are merged
<root>/annotations/**/{Train_Set,Validation_Set}/<track>.txt
<root>/annotations/**/Valence_Arousal_*test_set_release.txt
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from avfusion.corpora.groups import warn_of_leaks
from avfusion.corpora.layout import (
    VIDEO_SUFFIXES,
    CorpusLayout,
    RawTrack,
    check_track_names,
    contents,
    is_litter,
    require_folder,
    split_side,
    walk_files,
)
from avfusion.corpora.settings import CorpusSettings
from avfusion.corpora.track_list import read_track_list
from avfusion.runtime.errors import BadInputError

HEADER = "valence,arousal"
SPLIT_FOLDERS = {"train_set": "train", "training_set": "train", "validation_set": "val", "val_set": "val"}
# Names of parts of an original: 122-60-1920x1080-3 (number, frame rate, size, part), video86_2 (number, part).
PART = re.compile(r"(?P<original>\d+-\d+-\d+x\d+-|video\d+_)\d+")
TEST_LIST = "Valence_Arousal_*test_set_release.txt"


@dataclass(frozen=True)
class AnnotationSet:
    """A folder that holds split folders: one challenge of one edition.

    Attributes:
        files: (split, file) of all its annotation files.
        va_files: Number of files with the header `valence,arousal`.
    """

    folder: Path
    files: tuple[tuple[str, Path], ...]
    va_files: int


@dataclass
class _Place:
    """Where a track is named: its split, its annotation files, its number of entries in the test list."""

    split: str
    labels: list[str] = field(default_factory=list)
    listed: int = 0


def open_affwild2(params: CorpusSettings, root: Path) -> CorpusLayout:
    """Find the tracks of the valence-arousal challenge below `root`.

    Raises:
        BadInputError: a folder is missing, there is no valence-arousal set or more than one, a track is in two splits,
            a name cannot be a file name, or there are no tracks.
    """
    require_folder(root, "videos", "annotations")
    chosen, notes = choose_set(params, root)
    test_list, test_tracks = _read_test_list(params, root, chosen.folder)
    found = _splits(chosen, test_list, test_tracks, root)
    videos, crops = _find_videos(root), _find_crops(root)
    tracks = [_raw_track(name, place, videos, crops) for name, place in sorted(found.items())]
    if not tracks:
        raise BadInputError(f"no track found: {chosen.folder} has no annotation files and no test list was found")
    check_track_names(tracks)
    notes += _leftovers(tracks, videos, crops)
    if test_list is None:
        notes.append(f"no test list ({TEST_LIST}) below {root / 'annotations'}: there will be no test tracks")
    # Files ignored in favour of another one: the tracks' warnings depend on them.
    doubles = {path for track in tracks for path in videos.get(track.video, [])[1:]}
    doubles |= {path for place in found.values() for path in place.labels[1:]}
    extra = (*([_relative(test_list, root)] if test_list else []), *sorted(doubles))
    return CorpusLayout(warn_of_leaks(group_parts(tracks)), extra, tuple(notes))


def group_parts(tracks: Sequence[RawTrack]) -> list[RawTrack]:
    """The tracks, those of videos that are parts of one original by their names in one group, `<original>*`.

    The whole name but the part has to agree: 5-60-1920x1080 and 5-30-1920x1080-1 are other videos than
    5-60-1920x1080-1. A part without another stays a group of its own.
    """
    originals = {track.video: found["original"] for track in tracks if (found := PART.fullmatch(track.video))}
    parts = Counter(originals.values())
    return [
        replace(track, group=f"{original}*") if parts[original := originals.get(track.video, "")] > 1 else track
        for track in tracks
    ]


def annotation_sets(folder: Path) -> list[AnnotationSet]:
    """All sets of split folders below `folder`, each with the number of its valence-arousal files."""
    files: dict[Path, list[tuple[str, Path]]] = {}
    for path in walk_files(folder):
        split = SPLIT_FOLDERS.get(path.parent.name.lower())
        if split and path.suffix.lower() == ".txt":
            files.setdefault(path.parent.parent, []).append((split, path))
    return [
        AnnotationSet(where, tuple(found), sum(_is_va(path) for _, path in found))
        for where, found in sorted(files.items())
    ]


def choose_set(params: CorpusSettings, root: Path) -> tuple[AnnotationSet, list[str]]:
    """The valence-arousal set to use, and a note about each ignored set.

    Raises:
        BadInputError: there is no such set, or several and `corpus.annotations` names none of them.
    """
    sets = annotation_sets(root / "annotations")
    va = [one for one in sets if one.va_files]
    names = [_relative(one.folder, root) for one in va]
    if params.annotations is not None:
        places = {(root / params.annotations).resolve(), (root / "annotations" / params.annotations).resolve()}
        va = [one for one in va if one.folder.resolve() in places]
        if not va:
            raise BadInputError(
                f"corpus.annotations is {params.annotations!r}: no folder of that name below {root} has "
                f"Train_Set/ or Validation_Set/ with '{HEADER}' files; sets found: {', '.join(names) or 'none'}"
            )
    if not va:
        seen = ", ".join(_relative(one.folder, root) for one in sets) or contents(root / "annotations")
        raise BadInputError(
            f"no valence-arousal annotations: looked below {root / 'annotations'} for Train_Set/*.txt and "
            f"Validation_Set/*.txt with the header '{HEADER}'; found instead: {seen}"
        )
    if len(va) > 1:
        raise BadInputError(f"several valence-arousal sets: {', '.join(names)}: name one in corpus.annotations")
    notes = []
    for one in sets:
        if one.folder != va[0].folder:
            kind = "valence-arousal set not chosen" if one.va_files else "not valence-arousal"
            notes.append(f"{_relative(one.folder, root)}: {len(one.files)} annotation files ignored ({kind})")
    return va[0], notes + _strays(sets, root)


def _strays(sets: list[AnnotationSet], root: Path) -> list[str]:
    """A note for each folder of valence-arousal files outside all sets."""
    known = {path for one in sets for _, path in one.files}
    strays = [path for path in walk_files(root / "annotations") if path not in known and _is_va(path)]
    return [
        f"{_relative(folder, root)}: {count} annotation files ignored (valence-arousal, but not directly in "
        "Train_Set/ or Validation_Set/, or not called .txt)"
        for folder, count in sorted(Counter(path.parent for path in strays).items())
    ]


def _is_va(path: Path) -> bool:
    if not path.is_file():  # a broken link, or a pipe, which would never end; the scan names it
        return False
    try:
        with open(path, "rb") as stream:
            line = stream.readline(200)
    except OSError:  # the scan names unreadable files of the chosen set
        return False
    return line.decode("utf-8-sig", "replace").replace(" ", "").strip().lower() == HEADER


def _read_test_list(params: CorpusSettings, root: Path, chosen: Path) -> tuple[Path | None, list[str]]:
    path = _find_test_list(root, chosen) if params.test_list is None else root / params.test_list
    if path is None:
        return None, []
    if not path.is_file():
        raise BadInputError(f"corpus.test_list {path} is missing: a file with one track name a line is needed")
    try:
        return path, [name for _, name in read_track_list(path)]
    except UnicodeDecodeError:
        raise BadInputError(f"{path} is not UTF-8 text: one track name a line is needed") from None


def _find_test_list(root: Path, chosen: Path) -> Path | None:
    """The list nearest to the chosen set: inside it, else in the folders above it, else anywhere."""
    lists = [path for path in walk_files(root / "annotations") if path.match(TEST_LIST)]
    for folder in (chosen, *chosen.parents):
        near = [path for path in lists if folder in path.parents]
        if len(near) > 1:
            names = ", ".join(_relative(path, root) for path in near)
            raise BadInputError(f"several test lists: {names}: name one in corpus.test_list")
        if near or folder == root / "annotations":
            return near[0] if near else None
    return None


def _splits(chosen: AnnotationSet, test_list: Path | None, test_tracks: list[str], root: Path) -> dict[str, _Place]:
    """Where each track is named, by track.

    Raises:
        BadInputError: tracks in two splits; all are listed.
    """
    found: dict[str, _Place] = {}
    splits: dict[str, dict[str, str]] = {}  # track -> split -> file that says so
    for split, path in chosen.files:
        place = found.setdefault(path.stem, _Place(split))
        place.labels.append(_relative(path, root))
        splits.setdefault(path.stem, {}).setdefault(split, place.labels[-1])
    for name in test_tracks:
        found.setdefault(name, _Place("test")).listed += 1
        splits.setdefault(name, {}).setdefault("test", _relative(test_list, root) if test_list else "")
    twice = [f"{name} ({' and '.join(where.values())})" for name, where in sorted(splits.items()) if len(where) > 1]
    if twice:
        raise BadInputError(f"tracks in two splits: {'; '.join(twice)}: remove one of each")
    return found


def _find_videos(root: Path) -> dict[str, list[str]]:
    videos: dict[str, list[str]] = {}
    for path in walk_files(root / "videos"):
        if path.suffix.lower() in VIDEO_SUFFIXES:
            videos.setdefault(path.stem, []).append(_relative(path, root))
    return videos


def _find_crops(root: Path) -> dict[str, list[str]]:
    """Crop folders by track; a cropped_aligned* folder inside another (an unpacked archive) counts once."""
    crops: dict[str, list[str]] = {}
    todo = [root]
    seen = set()
    while todo:
        here = todo.pop(0)
        if (real := here.resolve()) in seen:
            continue
        seen.add(real)
        for folder in sorted(here.iterdir()):
            if is_litter(folder.name) or not folder.is_dir():
                continue
            if folder.name.lower().startswith("cropped_aligned"):
                todo.append(folder)
            elif folder.parent != root:
                crops.setdefault(folder.name, []).append(_relative(folder, root))
    return crops


def _raw_track(name: str, place: _Place, videos: dict[str, list[str]], crops: dict[str, list[str]]) -> RawTrack:
    video, side = split_side(name)
    if name in videos:
        video, side = name, ""
    warnings = []
    if len(place.labels) > 1:
        files = f"{len(place.labels)} annotation files have this name ({', '.join(place.labels)})"
        warnings.append(f"{files}: the first is used")
    if place.listed > 1:
        warnings.append(f"the test list names it {place.listed} times")
    paths = videos.get(video, [])
    if not paths:
        warnings.append(f"no video {video!r} below videos/: the track cannot be used")
    elif len(paths) > 1:
        warnings.append(f"{len(paths)} videos have this name ({', '.join(paths)}): the first is used")
    if paths and name not in crops:
        warnings.append("no crops: faces are detected in the video")
    return RawTrack(
        track=name,
        video=video,
        split=place.split,
        video_path=paths[0] if paths else "",
        crops_paths=tuple(crops.get(name, ())),
        labels_path=place.labels[0] if place.labels else "",
        warnings=tuple(warnings),
        side=side,
    )


def _leftovers(tracks: list[RawTrack], videos: dict[str, list[str]], crops: dict[str, list[str]]) -> list[str]:
    """Notes about files that belong to no track; in Aff-Wild2 these belong to other challenges."""
    notes = []
    for kind, names, used in (
        ("videos", videos, {track.video for track in tracks}),
        ("crop folders", crops, {track.track for track in tracks}),
    ):
        if unused := sorted(names.keys() - used):
            notes.append(f"{len(unused)} {kind} belong to no valence-arousal track: {', '.join(unused)}")
    return notes


def _relative(path: Path, root: Path) -> str:
    """The path relative to the corpus root; a list outside it keeps its absolute path."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
