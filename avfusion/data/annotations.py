"""Annotations of valence and arousal: the reader of Aff-Wild2's files.

An annotation file has the header `valence,arousal` and one `v,a` line per video frame, each in [-1, 1]; -5 in
either value means that the frame is not annotated.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from avfusion.corpora.csv_table import NUMBER, list_faults, shown
from avfusion.data.labels import LabelTable
from avfusion.runtime.errors import BadInputError

T = TypeVar("T")

HEADER = "valence,arousal"
NOT_ANNOTATED = -5.0
FAULTS_SHOWN = 3  # per file

_CELL = rf"[ \t]*({NUMBER})[ \t]*"
_ROW = re.compile(f"{_CELL},{_CELL}", re.ASCII)
_LINE_END = re.compile(r"\r\n|\n|\r")


class AnnotationError(BadInputError):
    """An annotation file has unusable lines; the message lists them with file and line."""


def read_annotation(path: str | Path, name: str | None = None) -> LabelTable:
    """Read one annotation file; a BOM, CRLF and blank lines at the end are accepted.

    Args:
        name: Name of the file in messages (default: the path).

    Raises:
        AnnotationError: the header is wrong, there are no rows, or a line is not two numbers in range.
    """
    name = name or str(path)
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise AnnotationError(f"{name}: the file is missing") from None
    except OSError as error:
        raise AnnotationError(f"{name}: the file cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{name}: not UTF-8 text (byte {error.start}): '{HEADER}' lines are needed") from None
    lines = _lines(text)
    if not lines:
        raise AnnotationError(f"{name}: empty: the header '{HEADER}' and one line per video frame are needed")
    if re.sub(r"\s", "", lines[0]).lower() != HEADER:
        raise AnnotationError(f"{name}, line 1: {shown(lines[0])}: the header '{HEADER}' is needed")
    if len(lines) == 1:
        raise AnnotationError(f"{name}: no rows below the header: one 'v,a' line per video frame is needed")
    return _parse_rows(lines[1:], name)


def _lines(text: str) -> list[str]:
    """The lines, without blank lines at the end."""
    lines = _LINE_END.split(text)
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def _parse_rows(lines: list[str], name: str) -> LabelTable:
    values = np.zeros((len(lines), 2))
    faults = []
    for index, line in enumerate(lines):
        match = _ROW.fullmatch(line)
        if match:
            values[index] = float(match[1]), float(match[2])
        else:
            faults.append((index, "two numbers 'valence,arousal' are needed"))
    missing = values == NOT_ANNOTATED
    outside = ~missing & ~((values >= -1) & (values <= 1))
    faults += [(int(index), "out of [-1, 1] and not -5") for index in np.flatnonzero(outside.any(axis=1))]
    if faults:
        listed = [(index + 2, f"{shown(lines[index])}: {why}") for index, why in faults]
        raise AnnotationError(list_faults(name, listed, FAULTS_SHOWN))
    valid = ~missing.any(axis=1)
    values[~valid] = np.nan
    return LabelTable(values[:, 0].astype(np.float32), values[:, 1].astype(np.float32), valid)


def read_all(
    files: Mapping[str, Path], read: Callable[[Path, str | None], T], names: Mapping[str, str] | None = None
) -> dict[str, T]:
    """Read the label files of many tracks, by track; arguments as for `read_usable`.

    Raises:
        BadInputError: some files cannot be used; all of them are listed.
    """
    tables, faults = read_usable(files, read, names)
    refuse_faults(faults, len(set(files.values())))
    return tables


def read_usable(
    files: Mapping[str, Path], read: Callable[[Path, str | None], T], names: Mapping[str, str] | None = None
) -> tuple[dict[str, T], dict[Path, str]]:
    """Read the label files of many tracks: labels by track, and faults by file.

    Args:
        read: `read(path, name)` reads a file and raises an AnnotationError if it cannot be used.
        names: Name of the file in messages by track.
    """
    tables: dict[str, T] = {}
    faults: dict[Path, str] = {}  # tracks may share a file
    for track, path in files.items():
        try:
            tables[track] = read(path, (names or {}).get(track))
        except AnnotationError as error:
            faults[path] = str(error)
    return tables, faults


def refuse_faults(faults: Mapping[Path, str], files: int) -> None:
    """Refuse the label files that cannot be used, of `files` in all.

    Raises:
        BadInputError: there are some; all of them are listed.
    """
    if faults:
        count = f"{len(faults)} of {files}"
        raise BadInputError(f"{count} annotation files cannot be used: {'; '.join(faults.values())}")


def count_rows(path: str | Path) -> int:
    """Number of rows below the header, without blank lines at the end; lines are not checked."""
    return max(0, len(_lines(Path(path).read_bytes().decode("utf-8-sig", "replace"))) - 1)


def any_annotated(path: str | Path) -> bool:
    """Whether any row below the header is annotated; lines are not checked, and a malformed line counts."""
    for line in _lines(Path(path).read_bytes().decode("utf-8-sig", "replace"))[1:]:
        match = _ROW.fullmatch(line)
        if not match or NOT_ANNOTATED not in (float(match[1]), float(match[2])):
            return True
    return False
