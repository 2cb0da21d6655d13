"""Write challenge files, read them back and compare them with their intended content.

A file is a table of valence and arousal; a file for all tracks begins with a column of image locations.
"""

import filecmp
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avfusion.challenge.submission_sample import COLUMNS, LOCATION, read_blocks
from avfusion.runtime.atomic import atomic_folder, atomic_path
from avfusion.runtime.errors import AVFusionError, BadInputError

DECIMALS = 5
_SCALE = 10**DECIMALS
_ROUNDING = 0.5 / _SCALE + 1e-9
_BATCH_ROWS = 100_000
_VALUE = rf"-?(?:0\.[0-9]{{{DECIMALS}}}|1\.0{{{DECIMALS}}})"
_PAIR = rf"(?P<valence>{_VALUE}),(?P<arousal>{_VALUE})"
_TARGETS = COLUMNS[1:]


@dataclass(frozen=True)
class Written:
    """Contents read back from files: number of rows, lowest and highest valence and arousal."""

    rows: int
    lowest: tuple[float, float]
    highest: tuple[float, float]


def value_table(values: np.ndarray, location: pa.ChunkedArray | pa.Array | None = None) -> pa.Table:
    """The table of a file: values (R, 2) in [-1, 1] and, for a file of all tracks, R locations."""
    columns = {} if location is None else {LOCATION: location}
    return pa.table(columns | {name: values[:, c] for c, name in enumerate(_TARGETS)})


def write_table(path: Path, table: pa.Table) -> None:
    """Write a header and a row per line, values with 5 decimals."""
    texts = _value_texts()
    with open(path, "w", encoding="utf-8", newline="\n") as stream:
        stream.write(",".join(table.column_names) + "\n")
        for batch in table.to_batches(_BATCH_ROWS):
            columns = [
                batch[name] if name == LOCATION else texts.take(pa.array(_scaled(batch[name]) + _SCALE))
                for name in table.column_names
            ]
            stream.write("\n".join(pc.binary_join_element_wise(*columns, ",").to_pylist()) + "\n")


@cache
def _value_texts() -> pa.Array:
    """All values of a file as texts, from -1 upwards: looking them up is faster than formatting millions."""
    return pa.array([f"{number / _SCALE:.{DECIMALS}f}" for number in range(-_SCALE, _SCALE + 1)])


def _scaled(values: pa.Array) -> np.ndarray:
    return np.rint(values.to_numpy().astype(np.float64) * _SCALE).astype(np.int64)


def check_table(path: Path, table: pa.Table) -> Written:
    """Read a file and compare it with `table`, row by row: header, order, form, range, values.

    Raises:
        AVFusionError: they differ; the message names the first such line.
    """
    located = LOCATION in table.column_names
    pattern = "^" + (r"(?P<location>[^,]+)," if located else "") + _PAIR + r"\n$"
    line, lowest, highest = 2, np.full(2, np.inf), np.full(2, -np.inf)
    with open(path, encoding="utf-8", newline="") as stream:
        if stream.readline() != ",".join(table.column_names) + "\n":
            raise _mismatch(path, 1, "another header")
        for lines in read_blocks(stream):
            expected = table.slice(line - 2, len(lines))
            found = pc.extract_regex(pa.array(lines, pa.string()), pattern)
            _refuse(path, line, found.is_null(), "not a row of the format")
            if len(expected) < len(lines):
                raise _mismatch(path, line + len(expected), "a row too many")
            if located:
                other = pc.not_equal(found.field("location"), expected[LOCATION].combine_chunks())
                _refuse(path, line, other, "another image location")
            values = np.stack([pc.cast(found.field(name), pa.float64()).to_numpy() for name in _TARGETS], axis=1)
            wanted = np.stack([expected[name].to_numpy() for name in _TARGETS], axis=1)
            wrong = ~(np.abs(values - wanted) <= _ROUNDING).all(axis=1)
            _refuse(path, line, pa.array(wrong), "another value than predicted")
            lowest, highest = np.minimum(lowest, values.min(axis=0)), np.maximum(highest, values.max(axis=0))
            line += len(lines)
    if line - 2 != len(table):
        raise _mismatch(path, line, f"the file ends after {line - 2} of {len(table)} rows")
    return Written(len(table), (lowest[0], lowest[1]), (highest[0], highest[1]))


def _refuse(path: Path, line: int, wrong: pa.Array, reason: str) -> None:
    first = pc.index(wrong, True).as_py()
    if first >= 0:
        raise _mismatch(path, line + first, reason)


def _mismatch(path: Path, line: int, reason: str) -> AVFusionError:
    return AVFusionError(f"validation of the written {path.name} failed: line {line}: {reason}")


def write_file(path: Path, table: pa.Table, *, force: bool = False) -> Written:
    """Write and validate one file; only a valid file gets its name.

    Raises:
        BadInputError: `path` is a folder, or a file with other contents and `force` is not set.
        AVFusionError: validation failed.
    """
    if path.is_dir():
        raise BadInputError(f"{path} is a folder: -o names the file to write")
    with atomic_path(path) as temporary:
        write_table(temporary, table)
        written = check_table(temporary, table)
        if not force and path.exists() and not filecmp.cmp(temporary, path, shallow=False):
            raise BadInputError(f"{path} is there with other contents: overwrite it with --force, or choose another -o")
    return written


def write_folder(folder: Path, tables: Mapping[str, pa.Table], *, force: bool = False) -> Written:
    """Write and validate a folder with one `<track>.txt` per table, and nothing else.

    Raises:
        BadInputError: `folder` is a file, holds another submission and `force` is not set, or holds other files (these
            are never removed).
        AVFusionError: validation failed.
    """
    folder = folder.resolve()
    if folder.exists() and not folder.is_dir():
        raise BadInputError(f"{folder} is a file: -o names the folder for the <track>.txt files")
    with atomic_folder(folder, lambda new: _check_replaceable(folder, new, force)) as temporary:
        found = []
        for track, table in tables.items():
            path = temporary / f"{track}.txt"
            write_table(path, table)
            found.append(check_table(path, table))
    lowest, highest = (np.array([getattr(one, name) for one in found]) for name in ("lowest", "highest"))
    low, high = lowest.min(axis=0), highest.max(axis=0)
    return Written(sum(one.rows for one in found), (low[0], low[1]), (high[0], high[1]))


def _check_replaceable(folder: Path, new: Path, force: bool) -> None:
    """Refuse if the content of `folder` must not be replaced by that of `new`."""
    there = sorted(folder.iterdir()) if folder.exists() else []
    names = {path.name for path in new.iterdir()}
    if foreign := [path.name for path in there if not _is_submission(path)]:
        shown = ", ".join(foreign[:3]) + (" …" if len(foreign) > 3 else "")
        raise BadInputError(
            f"{folder} holds {len(foreign)} things that are not a submission ({shown}): choose another -o"
        )
    gone = sum(path.name not in names for path in there)
    changed = sum(path.name in names and not filecmp.cmp(path, new / path.name, shallow=False) for path in there)
    if not force and (gone or changed):
        raise BadInputError(
            f"{folder} holds another submission ({changed} files differ, {gone} are of tracks not in this one): "
            "replace it with --force, or choose another -o"
        )


def _is_submission(path: Path) -> bool:
    """Whether this is a `<track>.txt` of a submission; annotation files have its header, but not its decimals."""
    if path.suffix != ".txt" or path.is_symlink() or not path.is_file():
        return False
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            header, *rows = stream
    except (UnicodeDecodeError, ValueError):
        return False
    formed = bool(rows) and all(re.fullmatch(_PAIR + "\n", row) for row in rows)
    return formed and header == ",".join(_TARGETS) + "\n"
