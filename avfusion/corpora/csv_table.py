"""Read CSV files that people write: all usual spellings are accepted, and each fault names its line.

UTF-8 with or without a BOM; any line ends; `,`, `;` or tab between cells; quoted cells; blank rows. Column names become
lower case; columns without a name (an index written by a table program) are ignored.
"""

import csv
import io
import math
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from avfusion.runtime.errors import BadInputError

DELIMITERS = (",", ";", "\t")
NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"  # numbers as tables hold them; matches in linear time
CELL_SHOWN = 60  # characters

Fault = tuple[int, str]  # line of the file, description
_NUMBER = re.compile(NUMBER, re.ASCII)


@dataclass(frozen=True)
class CsvTable:
    """The cells of a CSV, stripped of white space.

    Attributes:
        columns: Cells of all rows by column name; missing last cells of a row are blank.
        header_line: Line of the file, from 1, of the header.
        blank_lines: Lines of blank rows between the header and the last row.
        faults: Faults of the header and of whole rows.
    """

    columns: dict[str, list[str]]
    header_line: int
    lines: list[int]
    blank_lines: list[int]
    faults: list[Fault]

    def rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Line, and cells by column, of each row."""
        for index, line in enumerate(self.lines):
            yield line, {name: cells[index] for name, cells in self.columns.items()}


def read_csv(path: str | Path, known: Collection[str], name: str | None = None) -> CsvTable:
    """Read a CSV whose first non-blank row names the columns.

    Args:
        known: Columns that matter: the delimiter that finds most of them in the header is used, and none may occur
            twice.
        name: Name of the file in messages (default: the path).

    Raises:
        BadInputError: the file is missing, not UTF-8, empty, or without rows, or a quote is not closed.
    """
    name = name or str(path)
    text = _read_text(Path(path), name)
    delimiter = max(DELIMITERS, key=lambda one: _known_cells(text, one, known))
    rows = list(_parse(text, delimiter, name))
    while rows and not any(rows[-1][1]):
        rows.pop()
    first = next((index for index, (_, cells) in enumerate(rows) if any(cells)), None)
    if first is None:
        raise BadInputError(f"{name}: empty: a header that names the columns is needed")
    header_line, header = rows[first][0], [cell.lower() for cell in rows[first][1]]
    body = rows[first + 1 :]
    if not body:
        raise BadInputError(f"{name}: no rows below the header")
    twice = sorted({column for column in header if column in known and header.count(column) > 1})
    faults = [(header_line, f"column {column!r} is there twice") for column in twice]
    width = len(header)
    for line, cells in body:
        if any(cells[width:]):
            why = f"{len(cells)} cells for {width} columns: a cell that holds {delimiter!r} has to be quoted"
            faults.append((line, f"{shown(delimiter.join(cells))}: {why}"))
    filled = [(line, cells + [""] * (width - len(cells))) for line, cells in body if any(cells)]
    places = {column: index for index, column in enumerate(header) if column}
    return CsvTable(
        columns={column: [cells[index] for _, cells in filled] for column, index in places.items()},
        header_line=header_line,
        lines=[line for line, _ in filled],
        blank_lines=[line for line, cells in body if not any(cells)],
        faults=faults,
    )


def number(cell: str) -> float | None:
    """The number in a cell; None for other text, NaN, and infinities (also as digits: 1e400)."""
    value = float(cell) if _NUMBER.fullmatch(cell) else math.inf
    return value if math.isfinite(value) else None


def shown(text: str) -> str:
    """A cell or line, shortened and quoted for messages."""
    return repr(text if len(text) <= CELL_SHOWN else f"{text[:CELL_SHOWN]}…")


def list_faults(name: str, faults: Iterable[Fault], limit: int) -> str:
    """The first `limit` faults of the file `name` with their lines, and the number of the rest."""
    ordered = sorted(faults)
    listed = "; ".join(f"line {line}: {text}" for line, text in ordered[:limit])
    return f"{name}, {listed}" + (f"; {len(ordered) - limit} more lines of this file" if ordered[limit:] else "")


def _read_text(path: Path, name: str) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise BadInputError(f"{name}: the file is missing") from None
    except OSError as error:
        raise BadInputError(f"{name} cannot be read: {error.strerror}") from None
    if (nul := content.find(b"\0")) >= 0:
        line = content.count(b"\n", 0, nul) + 1
        raise BadInputError(f"{name}, line {line}: a NUL byte, so this is not text: save it as CSV in UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadInputError(f"{name}, line {line}: not UTF-8 text: save it as CSV in UTF-8") from None


def _known_cells(text: str, delimiter: str, known: Collection[str]) -> int:
    try:
        header = next((cells for _, cells in _parse(text, delimiter, "") if any(cells)), [])
    except BadInputError:
        return -1
    return len({cell.lower() for cell in header} & set(known))


def _parse(text: str, delimiter: str, name: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    line = 1
    try:
        for cells in reader:
            yield line, [cell.strip() for cell in cells]
            line = reader.line_num + 1
    except csv.Error as error:
        raise BadInputError(f"{name}, line {line}: its quotes or line ends are broken ({error})") from None
