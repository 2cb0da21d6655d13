"""Own data: a CSV with one row per track.

| column | content |
|---|---|
| `video` | the video file (the only required column) | | `track` | name of the track; blank: the file's stem | |
`split` | train, val, test, or blank: features and predictions only | | `crops` | folder of face crops numbered by video
frame; blank: faces are detected | | `labels` | CSV of own labels (`avfusion.data.own_labels`); blank: none | |
`label_delay_s` | seconds by which the labels lag behind the video, subtracted; blank: 0 | | `group` | person or
session, whose videos stay together in folds and intervals; blank: the video is a group of its own | | `attribute`,
`attribute:NAME` | category of the person, scored apart (`avfusion.corpora.attributes`); blank: not given |

Paths are absolute or relative to the manifest's folder. The tables hold them relative to the corpus root if they lie
below it, else absolute.
"""

import difflib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from avfusion.corpora.attributes import COLUMN, Attributes, attribute_columns, category_fault, too_many_categories
from avfusion.corpora.csv_table import CsvTable, Fault, list_faults, read_csv, shown
from avfusion.corpora.groups import join_by_video, warn_of_leaks
from avfusion.corpora.layout import LONGEST_NAME, CorpusLayout, RawTrack, Side, contents, name_fault, split_side
from avfusion.corpora.settings import CorpusSettings
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.progress import TaskProgress
from avfusion.runtime.quantities import counted

MANIFEST = "manifest.csv"
COLUMNS = ("video", "track", "split", "crops", "labels", "label_delay_s", "group")
ATTRIBUTES = (COLUMN, f"{COLUMN}:NAME")
SPLITS = ("train", "val", "test")
LONGEST_DELAY_S = 60.0  # annotators lag by 2 to 6 s; larger values are probably milliseconds
FAULTS_SHOWN = 20
NAMES_SHOWN = 5


@dataclass(frozen=True)
class _Row:
    """One checked row; `file` identifies the video, whatever path leads to it."""

    line: int
    track: str
    split: str
    file: str
    video_path: str
    crops_path: str
    labels_path: str
    label_delay_s: float
    group: str
    attributes: Attributes


def open_manifest(params: CorpusSettings, root: Path) -> CorpusLayout:
    """Read the tracks of `corpus.manifest`, absolute or relative to `root` (default: `<root>/manifest.csv`).

    Raises:
        BadInputError: the manifest is missing or not a CSV of this form, or cells cannot be used; all are listed.
    """
    root = Path(os.path.abspath(root))
    path = root / Path(params.manifest or MANIFEST).expanduser()
    if not path.is_file():
        raise BadInputError(_missing(path))
    table = read_csv(path, COLUMNS, numeric=("label_delay_s",))
    if attributes := attribute_columns(list(table.columns)):
        table = read_csv(path, (*COLUMNS, *attributes), numeric=("label_delay_s",))  # none may be there twice
    faults = table.faults + _header_faults(table)
    rows = []
    if "video" in table.columns:
        broken = {line for line, _ in table.faults}
        folder = path.parent.resolve()  # `..` in a cell starts from the manifest's real folder, not from a link to it
        roots = (root.resolve(), root)
        label, console = f"reading {path.name}", Console(stderr=True)
        with TaskProgress(label, [1.0] * len(table.lines), console, brief=True) as progress:
            for line, cells in table.rows():
                if line not in broken:  # else its cells are shifted
                    row, found = _check_row(line, cells, folder, roots, table)
                    rows.append(row)
                    faults += [(line, fault) for fault in found]
                progress.advance(1.0)
        faults += _name_faults(rows)
        categories = too_many_categories([row.attributes for row in rows])
        columns = {name: column for column, name in attributes.items()}
        faults += [(table.header_line, f"column {columns[name]}: {why}") for name, why in categories]
    faults = faults or _video_faults(rows) or _group_faults(rows)
    if faults:
        raise BadInputError(list_faults(str(path), faults, FAULTS_SHOWN))
    tracks = join_by_video(_tracks(rows))
    return CorpusLayout(warn_of_leaks(tracks), (_from_root(path, (root.resolve(), root)),), _notes(tracks))


def video_name(tracks: Sequence[str], stem: str) -> str:
    """The name of a video and its sound, derived from the names of its own tracks alone.

    Several tracks: the first name without `_left` or `_right`. One track: its name, without such an ending only if the
    rest is the file's stem.
    """
    first = min(tracks)
    base = first if first == stem else split_side(first)[0]
    return base if len(tracks) > 1 or base == stem else first


def _missing(path: Path) -> str:
    above = next(folder for folder in path.absolute().parents if folder.is_dir())
    state = "is a folder" if path.is_dir() else "is missing"
    return (
        f"the manifest {path} {state}: corpus.name manifest needs a CSV with the column video "
        f"(and {', '.join(COLUMNS[1:])} as needed); {above} has {contents(above)}: "
        "set corpus.root, or corpus.manifest, in params.yaml"
    )


def _header_faults(table: CsvTable) -> list[Fault]:
    if "video" not in table.columns:
        why = "there is no column video: the first row must name the columns, with ',', ';' or tab between them"
        near = difflib.get_close_matches("video", table.columns, 1)
        return [(table.header_line, why + (f"; did you mean it by {shown(near[0])}?" if near else ""))]
    faults = []
    allowed = (*COLUMNS, *attribute_columns(list(table.columns)))
    unknown = [column for column in table.columns if column not in allowed]
    for number, column in enumerate(unknown):
        near = difflib.get_close_matches(column, (*COLUMNS, COLUMN), 1) if number < FAULTS_SHOWN else []
        hint = f"did you mean {near[0]}? " if near else ""
        meant = ", ".join((*COLUMNS, *ATTRIBUTES))
        faults.append((table.header_line, f"column {shown(column)} is unknown: {hint}must be one of {meant}"))
    return faults


def _check_row(
    line: int, cells: Mapping[str, str], folder: Path, roots: Sequence[Path], table: CsvTable
) -> tuple[_Row, list[str]]:
    """A row and its faults."""
    faults: list[str] = []

    def fault(column: str, why: str) -> None:
        faults.append(f"column {column}: {shown(cells.get(column, ''))}: {why}")

    places = {}
    for column, kind in (("video", "file"), ("crops", "folder"), ("labels", "file")):
        text = cells.get(column, "")
        places[column] = _place(folder, text) if text else None
        if why := _place_fault(text, places[column], kind):
            fault(column, why)
    if not cells["video"]:
        fault("video", "must be the path of a video")
    split = cells.get("split", "")
    if split not in (*SPLITS, ""):
        fault("split", f"must be one of {', '.join(SPLITS)}, or blank")
    delay = table.number(cells.get("label_delay_s", "") or "0")
    if delay is None or abs(delay) > LONGEST_DELAY_S:
        fault("label_delay_s", f"must be from {-LONGEST_DELAY_S:g} to {LONGEST_DELAY_S:g} seconds, or blank")
    group = cells.get("group", "")
    if not group.isprintable() or " + " in group or len(group) > LONGEST_NAME:
        fault("group", f"must be printable, at most {LONGEST_NAME} characters, and without ' + '; or blank")
    attributes = attribute_columns(list(cells))
    for column in attributes:
        if why := category_fault(cells[column]):
            fault(column, why)
    video = places["video"]
    row = _Row(
        line=line,
        track=cells.get("track", "") or (video.stem if video else ""),
        split=split,
        file=os.path.realpath(video) if video and not faults else "",
        video_path=_from_root(video, roots),
        crops_path=_from_root(places["crops"], roots),
        labels_path=_from_root(places["labels"], roots),
        label_delay_s=delay or 0.0,
        group=group,
        attributes=tuple((name, cells[column]) for column, name in attributes.items()),
    )
    return row, faults


def _place(folder: Path, text: str) -> Path:
    """The path that a cell means; links are kept, except where `..` goes back from one."""
    given = folder / text
    plain = os.path.normpath(given)
    real = os.path.realpath(given)
    return Path(plain if os.path.realpath(plain) == real else real)


def _place_fault(text: str, place: Path | None, kind: str) -> str:
    if place is None:
        return ""
    if "\t" in text or text.splitlines() != [text]:
        return "file names must be without tabs and line ends: rename it"
    there = os.path.isdir(place) if kind == "folder" else os.path.isfile(place)  # these take names of any length
    if there:
        return ""
    if os.path.exists(place):
        return f"must be a {kind}, {place} is {'a file' if kind == 'folder' else 'no regular file'}"
    return f"there is no {kind} {place} (paths are absolute or relative to the manifest's folder)"


def _name_faults(rows: Sequence[_Row]) -> list[Fault]:
    faults = []
    seen: dict[str, _Row] = {}
    for row in rows:
        if not row.track:
            continue
        if why := name_fault(row.track):
            faults.append((row.line, f"column track: {why}: name it otherwise (blank: the video's file name)"))
        other = seen.setdefault(row.track.casefold(), row)
        if other is not row:
            same = "is" if other.track == row.track else f"differs only by case from {other.track!r},"
            faults.append((row.line, f"column track: {row.track!r} {same} the track of line {other.line} already"))
    return faults


def _videos(rows: Sequence[_Row]) -> dict[str, str]:
    """Names of videos by file; of several paths to a file, the first counts."""
    names: dict[str, list[str]] = {}
    stems: dict[str, str] = {}
    for row in rows:
        names.setdefault(row.file, []).append(row.track)
        stems.setdefault(row.file, Path(row.video_path).stem)
    return {file: video_name(tracks, stems[file]) for file, tracks in names.items()}


def _video_faults(rows: Sequence[_Row]) -> list[Fault]:
    """Pairs of files whose sound would be stored under one name."""
    faults = []
    first: dict[str, str] = {}  # file by name
    own: dict[str, list[_Row]] = {}
    for row in rows:
        own.setdefault(row.file, []).append(row)
    for file, video in _videos(rows).items():
        other = first.setdefault(video.casefold(), file)
        if other != file:
            (line, here), (before, there) = _first_tracks(own[file]), _first_tracks(own[other])
            why = f"{here} and {there} (line {before}) are of two files, which would both be called {video!r}"
            faults.append((line, f"column track: {why}: rename one of these tracks"))
    return faults


def _group_faults(rows: Sequence[_Row]) -> list[Fault]:
    """Groups named like the video of another row, whose group is blank: they might be meant as one, or not."""
    named = {row.group for row in rows} - {""}
    grouped = {row.file for row in rows if row.group}
    videos = _videos(rows)
    return [
        (
            row.line,
            f"column group: blank, and the video is called {videos[row.file]!r}, like a group of other rows: "
            "write the group into this row, too, or name the other one otherwise",
        )
        for row in rows
        if row.file not in grouped and videos[row.file] in named
    ]


def _first_tracks(own: Sequence[_Row]) -> tuple[int, str]:
    """The first line of a file with these rows, and the names of its first tracks."""
    some = ", ".join(repr(row.track) for row in own[:NAMES_SHOWN])
    return own[0].line, some + (f" and {len(own) - NAMES_SHOWN} more" if own[NAMES_SHOWN:] else "")


def _tracks(rows: Sequence[_Row]) -> list[RawTrack]:
    paths: dict[str, str] = {}
    for row in rows:
        paths.setdefault(row.file, row.video_path)
    count = Counter(row.file for row in rows)
    followed = Counter((row.file, _side(row, paths)) for row in rows if not row.crops_path)
    videos = _videos(rows)
    tracks = [
        RawTrack(
            track=row.track,
            video=videos[row.file],
            split=row.split,
            video_path=paths[row.file],
            crops_paths=(row.crops_path,) if row.crops_path else (),
            labels_path=row.labels_path,
            warnings=_warnings(row, _side(row, paths), count[row.file] > 1, followed[row.file, _side(row, paths)] > 1),
            label_format="csv",
            label_delay_s=row.label_delay_s,
            side=_side(row, paths),
            group=row.group,
            attributes=row.attributes,
        )
        for row in rows
    ]
    return sorted(tracks, key=lambda track: track.track)


def _side(row: _Row, paths: Mapping[str, str]) -> Side:
    """The side by the track's ending; none for a track with the file's own name, whatever its ending."""
    return "" if row.track == Path(paths[row.file]).stem else split_side(row.track)[1]


def _warnings(row: _Row, side: Side, shared: bool, same_side: bool) -> tuple[str, ...]:
    warnings = []
    if shared and not row.crops_path and not side:
        warnings.append(
            "shares its video with other tracks, has no crops, and its name says no side (…_left, …_right): "
            "the main face is followed"
        )
    if same_side and side and not row.crops_path:
        warnings.append(f"another track of its video says {side}, too: both follow the same person")
    if row.split in ("train", "val") and not row.labels_path:
        warnings.append(f"no labels: it adds nothing to the split {row.split}")
    return tuple(warnings)


def _notes(tracks: Sequence[RawTrack]) -> tuple[str, ...]:
    loose = [track.track for track in tracks if not track.split]
    if not loose:
        return ()
    some = ", ".join(loose[:5]) + (" …" if len(loose) > 5 else "")
    return (f"{counted(len(loose), 'track')} of no split: features only, neither trained on nor scored: {some}",)


def _from_root(path: Path | None, roots: Sequence[Path]) -> str:
    """The path relative to the root (resolved, and as given) if it lies below it, else as it is."""
    if path is None:
        return ""
    for base in roots:
        if path.is_relative_to(base):
            return path.relative_to(base).as_posix()
    real = path.resolve()
    return (real.relative_to(roots[0]) if real.is_relative_to(roots[0]) else path).as_posix()
