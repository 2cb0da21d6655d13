"""Own labels: a CSV with columns `valence,arousal` in one of three forms.

- one row per video frame, in order;
- a column `frame`: the video frame that a row belongs to, counted from 1;
- a column `time`: seconds from the presentation of the video's first frame.

Values are in [-1, 1]; -5 in either means that nothing was annotated there. Other columns are ignored. But without
`frame` or `time`, a column that rises from row to row, or has a name like `seconds`, is refused: it says where the rows
belong, and in which unit would be a guess.
"""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np

from avfusion.corpora.csv_table import CsvTable, Fault, list_faults, read_csv, shown
from avfusion.data.annotations import FAULTS_SHOWN, NOT_ANNOTATED, AnnotationError
from avfusion.data.labels import LabelTable
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.quantities import counted

VALUES = ("valence", "arousal")
STAMPS = ("frame", "time")
_LIKE_STAMPS = frozenset(
    [
        *("t", "s", "sec", "secs", "second", "seconds", "ms", "msec", "msecs", "millis", "millisecond", "milliseconds"),
        *("index", "idx", "pts", "start", "end", "begin", "stop", "onset", "offset", "zeit", "sekunde", "sekunden"),
    ]
)
_BLANKS = ("", "nan", "na", "n/a", "none", "null")
_DIGITS = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
LAST_FRAME = 10**9
LONGEST_S = 1e6  # 11 days; clock times and most milliseconds exceed it


@dataclass(frozen=True)
class OwnLabels:
    """Labels in the order of their stamps.

    Attributes:
        stamps: (n,) float64, strictly increasing: frame numbers (rows are numbered from 1), or seconds.
        values: (n, 2) float64 valence and arousal, NaN where not annotated.
    """

    by: Literal["row", "frame", "time"]
    stamps: np.ndarray
    values: np.ndarray
    valid: np.ndarray
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.stamps)


def labels_of_frames(table: LabelTable) -> OwnLabels:
    """The labels of frames as rows."""
    stamps = np.arange(1, len(table) + 1, dtype=np.float64)
    return OwnLabels("row", stamps, np.stack([table.valence, table.arousal], axis=1).astype(np.float64), table.valid)


def read_own_labels(path: str | Path, name: str | None = None) -> OwnLabels:
    """Read one CSV of own labels; rows out of order are sorted, with a warning.

    Args:
        name: Name of the file in messages (default: the path).

    Raises:
        AnnotationError: the file is not a CSV, columns are missing or contradict each other, cells are not numbers or
            out of range, or two rows have the same stamp; the first lines of each kind are listed.
    """
    name = name or str(path)
    try:
        table = read_csv(path, (*VALUES, *STAMPS), name, numeric=(*VALUES, *STAMPS))
    except BadInputError as error:
        raise AnnotationError(str(error)) from None
    faults = table.faults + _column_faults(table)
    if faults:
        raise AnnotationError(list_faults(name, faults, FAULTS_SHOWN))
    by: Literal["row", "frame", "time"] = (
        "frame" if "frame" in table.columns else "time" if "time" in table.columns else "row"
    )
    values, faults = _values(table)
    stamps, stamp_faults = _stamps(table, by)
    faults += stamp_faults
    if by == "row":
        faults += [(line, "a blank row: there has to be one row for every frame") for line in table.blank_lines]
    if not stamp_faults:
        faults += _doubles(table, by, stamps)
    if faults:
        raise AnnotationError(list_faults(name, faults, FAULTS_SHOWN))
    order = np.argsort(stamps, kind="stable")
    moved = int((np.diff(stamps) < 0).sum())
    warnings = (
        (f"the labels are not in the order of their column {by} ({counted(moved, 'step')} back): sorted",)
        if moved
        else ()
    )
    valid = (values != NOT_ANNOTATED).all(axis=1)
    values[~valid] = np.nan
    return OwnLabels(by, stamps[order], values[order], valid[order], warnings)


def _column_faults(table: CsvTable) -> list[Fault]:
    line, found = table.header_line, ", ".join(map(shown, table.columns))
    faults = []
    for column in VALUES:
        if column not in table.columns:
            near = difflib.get_close_matches(column, table.columns, 1)
            hint = f", did you mean {shown(near[0])}?" if near else ""
            faults.append((line, f"there is no column {column} (found: {found}){hint}"))
    stamps = [column for column in STAMPS if column in table.columns]
    if len(stamps) > 1:
        faults.append((line, "there are both columns, frame and time: remove one"))
    if stamps or not table.columns.keys() & set(VALUES):  # without any, probably the header is missing
        return faults
    return faults + _order_faults(table)


def _order_faults(table: CsvTable) -> list[Fault]:
    """Columns that say where the rows belong: read as one row per frame, the file could be silently wrong."""
    others = [(name, cells) for name, cells in table.columns.items() if name not in VALUES]
    posing = {
        f"column {shown(name)}" if name else "a column without a name": cells
        for name, cells in [*others, *(("", cells) for cells in table.unnamed)]
        if _is_like_a_stamp(name) or _rises(cells, table)
    }
    why = (
        "call it `frame` (numbers from 1) or `time` (seconds from the first frame), or remove it where there is one "
        "row per frame"
    )
    return [
        (
            table.header_line,
            f"{name} looks as if it said where the rows belong ({shown(cells[0])} to {shown(cells[-1])}): {why}",
        )
        for name, cells in posing.items()
    ]


def _is_like_a_stamp(name: str) -> bool:
    words = re.findall(r"[^\W\d_]+", name)
    named = any(
        word.startswith(STAMPS) or word.endswith(STAMPS) for word in words
    )  # frame_no, timestamp; not sentiment
    return named or (bool(words) and _LIKE_STAMPS.issuperset(words))


def _rises(cells: Sequence[str], table: CsvTable) -> bool:
    """Whether cells rise (or fall) from row to row: as numbers, or as clock times, dates or numbered names."""
    values: Sequence[Any] = [table.number(cell) for cell in cells]
    if None in values:
        if len({_DIGITS.sub("0", cell) for cell in cells}) > 1:
            return False
        values = [tuple(map(float, _DIGITS.findall(cell))) for cell in cells]
    pairs = list(pairwise(values))
    return bool(pairs) and (all(a < b for a, b in pairs) or all(a > b for a, b in pairs))


def _values(table: CsvTable) -> tuple[np.ndarray, list[Fault]]:
    values = np.full((len(table.lines), 2), np.nan)
    faults = []
    for at, column in enumerate(VALUES):
        outside = []
        for row, cell in enumerate(table.columns[column]):
            value = table.number(cell)
            if value is None:
                why = "must be a number in [-1, 1], or -5 (not annotated)"
                if cell.lower() in _BLANKS:
                    why = "must be a number in [-1, 1]: write -5 for what was not annotated"
                faults.append((table.lines[row], f"column {column}: {shown(cell)}: {why}"))
            elif not -1 <= value <= 1 and value != NOT_ANNOTATED:
                outside.append((table.lines[row], f"column {column}: {shown(cell)}: out of [-1, 1] and not -5"))
            values[row, at] = np.nan if value is None else value
        if len(outside) > 1:
            used = values[:, at][values[:, at] != NOT_ANNOTATED]
            scale = f"{np.nanmin(used):g} to {np.nanmax(used):g}"
            outside[0] = (outside[0][0], f"{outside[0][1]} (the column has {scale}: rescale it to [-1, 1])")
        faults += outside
    return values, faults


def _stamps(table: CsvTable, by: str) -> tuple[np.ndarray, list[Fault]]:
    if by == "row":
        return np.arange(1.0, len(table.lines) + 1), []
    stamps = np.zeros(len(table.lines))
    faults = []
    for row, cell in enumerate(table.columns[by]):
        value = table.number(cell)
        whole = value is not None and value.is_integer() and 0 <= value <= LAST_FRAME
        seconds = value is not None and abs(value) <= LONGEST_S
        if value is not None and (whole if by == "frame" else seconds):
            stamps[row] = value
        else:
            why = "must be a frame number, counted from 1"
            if by == "time":
                why = f"must be seconds from the video's first frame, at most {LONGEST_S:.0f}"
                clock = ":" in cell or value is not None
                why += " (62.5, say), not a clock time, a date, or 00:01:02.5" if clock else ""
            faults.append((table.lines[row], f"column {by}: {shown(cell)}: {why}"))
    return stamps, faults


def _doubles(table: CsvTable, by: str, stamps: np.ndarray) -> list[Fault]:
    first: dict[float, int] = {}
    faults = []
    for line, stamp in zip(table.lines, stamps.tolist(), strict=True):
        other = first.setdefault(stamp, line)
        if other != line:
            faults.append((line, f"column {by}: {stamp:.12g} is on line {other} already"))
    return faults
