"""Read CSV files that people write: all usual spellings are accepted, and each fault names its line.

UTF-8, or UTF-16 with its BOM; any line ends; `,`, `;` or tab between cells, also as Excel's first line `sep=;` says it;
quoted cells; decimal points, or commas throughout; blank rows. Column names become lower case.
"""

import codecs
import csv
import io
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from avfusion.runtime.errors import BadInputError

DELIMITERS = (",", ";", "\t")
NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"  # numbers as tables hold them; matches in linear time
CELL_SHOWN = 60  # characters
MOST_BLANKS = 10_000_000  # cells that rows leave out, each of which takes memory

Fault = tuple[int, str]  # line of the file, description
_NUMBER = re.compile(NUMBER, re.ASCII)
_DECIMAL_COMMA = re.compile(NUMBER.replace(r"\.", ","), re.ASCII)
_WHOLE = re.compile(r"[+-]?\d*", re.ASCII)
_SEP_LINE = re.compile(r'"?sep=([^\r\n]?)"?[ \t]*(?=[\r\n]|\Z)', re.IGNORECASE)
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_WORKBOOK_MARKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # .xlsx and .ods; .xls


@dataclass(frozen=True)
class CsvTable:
    """The cells of a CSV, stripped of white space.

    Attributes:
        columns: Cells of all rows by column name; missing last cells of a row are blank.
        unnamed: Cells of the columns without a name, as table programs write an index.
        header_line: Line of the file, from 1, of the header.
        blank_lines: Lines of blank rows between the header and the last row.
        faults: Faults of the header and of whole rows, and decimal commas beside decimal points.
        decimal_comma: The numbers have a comma before their decimals.
    """

    columns: dict[str, list[str]]
    unnamed: list[list[str]]
    header_line: int
    lines: list[int]
    blank_lines: list[int]
    faults: list[Fault]
    decimal_comma: bool

    def number(self, cell: str) -> float | None:
        """As the function `number`, with the decimal sign of this table."""
        return number(cell.replace(",", ".") if self.decimal_comma else cell)

    def rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Line, and cells by column, of each row."""
        for index, line in enumerate(self.lines):
            yield line, {name: cells[index] for name, cells in self.columns.items()}


def read_csv(
    path: str | Path, known: Collection[str], name: str | None = None, *, numeric: Collection[str] = ()
) -> CsvTable:
    """Read a CSV whose first non-blank row, but for `sep=;`, names the columns.

    Args:
        known: Columns that matter: the delimiter that finds most of them in the header is used (if no `sep=` names it),
            and none may occur twice.
        name: Name of the file in messages (default: the path).
        numeric: Columns of numbers, from which the decimal sign is known.

    Raises:
        BadInputError: the file is missing, not UTF-8 or UTF-16, empty, or without rows, a quote is not closed, or rows
            leave out millions of cells.
    """
    name = name or str(path)
    text = _read_text(Path(path), name)
    declared = _SEP_LINE.match(text)
    if declared and declared[1] not in DELIMITERS:
        raise BadInputError(f"{name}, line 1: {shown(declared[0])}: cells must be separated by ',', ';' or a tab")
    delimiter = declared[1] if declared else max(DELIMITERS, key=lambda one: _known_cells(text, one, known))
    rows = list(_parse(text, delimiter, name))[1 if declared else 0 :]
    while rows and not any(rows[-1][1]):
        rows.pop()
    first = next((index for index, (_, cells) in enumerate(rows) if any(cells)), None)
    if first is None:
        raise BadInputError(f"{name}: empty: a header that names the columns is needed")
    header_line, header = rows[first][0], [cell.lower() for cell in rows[first][1]]
    body = rows[first + 1 :]
    if not body:
        raise BadInputError(f"{name}: no rows below the header")
    twice = sorted(column for column, count in Counter(header).items() if column in known and count > 1)
    faults = [(header_line, f"column {column!r} is there twice") for column in twice]
    width = len(header)
    for line, cells in body:
        if any(cells[width:]):
            why = f"{len(cells)} cells for {width} columns: a cell that holds {delimiter!r} has to be quoted"
            if delimiter == "," and all(_WHOLE.fullmatch(cell) for cell in cells):
                why += ", and decimals need a point"
            faults.append((line, f"{shown(delimiter.join(cells))}: {why}"))
    if sum(max(0, width - len(cells)) for _, cells in body if any(cells)) > MOST_BLANKS:
        raise BadInputError(f"{name}: {width:,} columns, of which rows leave out more than {MOST_BLANKS:,} cells")
    filled = [(line, cells + [""] * (width - len(cells))) for line, cells in body if any(cells)]
    lines = [line for line, _ in filled]
    cells_of = [[cells[index] for _, cells in filled] for index in range(width)]
    columns = {column: cells_of[index] for index, column in enumerate(header) if column}
    comma, mixed = _decimal_comma({column: columns[column] for column in numeric if column in columns}, lines)
    return CsvTable(
        columns=columns,
        unnamed=[cells for column, cells in zip(header, cells_of, strict=True) if not column and any(cells)],
        header_line=header_line,
        lines=lines,
        blank_lines=[line for line, cells in body if not any(cells)],
        faults=faults + mixed,
        decimal_comma=comma,
    )


def _decimal_comma(columns: Mapping[str, list[str]], lines: Sequence[int]) -> tuple[bool, list[Fault]]:
    """Whether the decimal sign is a comma, and a fault where another number has a point."""
    comma, point = (
        next(
            (
                (lines[row], column, cell)
                for column, cells in columns.items()
                for row, cell in enumerate(cells)
                if sign in cell and form.fullmatch(cell)
            ),
            None,
        )
        for sign, form in ((",", _DECIMAL_COMMA), (".", _NUMBER))
    )
    if comma and point:
        why = f"a decimal comma, and {shown(point[2])} on line {point[0]} has a point: write points throughout"
        return False, [(comma[0], f"column {comma[1]}: {shown(comma[2])}: {why}")]
    return comma is not None, []


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
    if content.startswith(_WORKBOOK_MARKS):
        raise BadInputError(f"{name}: a workbook, not a CSV: save the sheet as CSV in UTF-8")
    wide = content.startswith(_UTF16_MARKS)
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadInputError(
            f"{name}, line {line}: not {'UTF-16' if wide else 'UTF-8'} text: save it as CSV in UTF-8"
        ) from None
    if (nul := text.find("\0")) >= 0:
        line = text.count("\n", 0, nul) + 1
        raise BadInputError(
            f"{name}, line {line}: a NUL byte, so this is not text, or UTF-16 without its mark: save it as CSV in UTF-8"
        )
    return text


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
