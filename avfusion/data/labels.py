"""Annotations of valence and arousal: the reader of Aff-Wild2's files, and the label files of the project.

An annotation file has the header `valence,arousal` and one `v,a` line per video frame, each in [-1, 1]; -5 in
either value means that the frame is not annotated.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from avfusion.corpora.csv_table import NUMBER, list_faults, shown
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.runtime.fingerprints import arrays_digest
from avfusion.runtime.stamps import UNSTAMPED, Stamp

T = TypeVar("T")

HEADER = "valence,arousal"
NOT_ANNOTATED = -5.0
STAMP_KEY = b"avfusion.stamp"
FAULTS_SHOWN = 3  # per file

_CELL = rf"[ \t]*({NUMBER})[ \t]*"
_ROW = re.compile(f"{_CELL},{_CELL}", re.ASCII)
_LINE_END = re.compile(r"\r\n|\n|\r")
SCHEMA = pa.schema([("frame", pa.int32()), ("valence", pa.float32()), ("arousal", pa.float32()), ("valid", pa.bool_())])


@dataclass(frozen=True)
class LabelTable:
    """Labels of the frames 1 to N.

    Attributes:
        valence: (N,) float32 in [-1, 1], NaN where not annotated.
        arousal: (N,) float32, likewise.
        valid: (N,) bool, annotated frames.
    """

    valence: np.ndarray
    arousal: np.ndarray
    valid: np.ndarray

    def __len__(self) -> int:
        return len(self.valid)

    def head(self, frames: int) -> "LabelTable":
        """The labels of the first `frames` frames, or all if there are fewer."""
        return LabelTable(self.valence[:frames], self.arousal[:frames], self.valid[:frames])


class AnnotationError(BadInputError):
    """An annotation file has unusable lines; the message lists them with file and line."""


def read_annotation(path: str | Path, name: str | None = None) -> LabelTable:
    """Read one annotation file; a BOM, CRLF and blank lines at the end are accepted.

    Args:
        path: The file.
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
    """Read the label files of many tracks, by track.

    Args:
        files: File by track.
        read: `read(path, name)` reads a file and raises an AnnotationError if it cannot be used.
        names: Name of the file in messages by track.

    Raises:
        BadInputError: some files cannot be used; all of them are listed.
    """
    tables: dict[str, T] = {}
    faults: dict[Path, str] = {}  # tracks may share a file
    for track, path in files.items():
        try:
            tables[track] = read(path, (names or {}).get(track))
        except AnnotationError as error:
            faults[path] = str(error)
    if faults:
        count = f"{len(faults)} of {len(set(files.values()))}"
        raise BadInputError(f"{count} annotation files cannot be used: {'; '.join(faults.values())}")
    return tables


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


def write_labels(table: LabelTable, path: str | Path, wanted: Stamp = UNSTAMPED) -> None:
    """Write one track's label file: frame (int32, from 1), valence, arousal (float32), valid; and its stamp."""
    frames = np.arange(1, len(table) + 1, dtype=np.int32)
    columns = dict(zip(SCHEMA.names, (frames, table.valence, table.arousal, table.valid), strict=True))
    stamp = wanted.completed(arrays_digest(columns))
    schema = SCHEMA.with_metadata({STAMP_KEY: stamp.to_json()})
    pq.write_table(pa.Table.from_arrays([pa.array(column) for column in columns.values()], schema=schema), path)


def read_labels(path: str | Path) -> LabelTable:
    """Read one track's label file.

    Raises:
        AVFusionError: the file is missing or not a label file.
    """
    try:
        table = pq.read_table(path, partitioning=None)
        frames, valence, arousal, valid = (table.column(name).to_numpy() for name in SCHEMA.names)
    except (OSError, KeyError, pa.ArrowInvalid) as error:
        raise AVFusionError(f"{path} is not a label file ({error}): run the stage `labels`") from None
    if not np.array_equal(frames, np.arange(1, len(frames) + 1)):
        raise AVFusionError(f"{path}: its frames are not 1, 2, 3, …: delete it and run the stage `labels`")
    return LabelTable(valence, arousal, valid)


def frame_labels(path: Path, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N, 2) float32 of a video's N frames and their validity (N,).

    Frames beyond the label file's rows are invalid, rows beyond the video are ignored; without a file all are invalid.
    """
    labels, valid = np.zeros((frames, 2), np.float32), np.zeros(frames, bool)
    if path.is_file():
        table = read_labels(path).head(frames)
        valid[: len(table)] = table.valid
        values = np.stack([table.valence, table.arousal], axis=1)
        labels[: len(table)] = np.where(table.valid[:, None], values, 0)
    return labels, valid


def read_stamp(path: str | Path) -> Stamp | None:
    """The stamp of a label file, None without one."""
    metadata: dict[bytes, bytes] = pq.read_schema(path).metadata or {}
    stored = metadata.get(STAMP_KEY)
    return Stamp.from_json(stored) if stored else None


def restamp(source: Path, target: Path, stamp: Stamp) -> None:
    """Copy a label file with another stamp."""
    table = pq.read_table(source, partitioning=None)
    pq.write_table(table.replace_schema_metadata({STAMP_KEY: stamp.to_json()}), target)
