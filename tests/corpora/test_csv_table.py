"""CSVs in the spellings of spreadsheets and scripts, and the line of every fault."""

import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avfusion.corpora.csv_table import list_faults, number, read_csv
from avfusion.runtime.errors import BadInputError

KNOWN = ("video", "track", "split")


def put(tmp_path, content: str | bytes):
    path = tmp_path / "x.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [
        "sep=;\r\nvideo;track\r\na b.mp4;x\r\nc.mp4;\r\n",
        "video\ttrack\r\na b.mp4\tx\r\nc.mp4\t\r\n".encode("utf-16"),
        b"\xfe\xff" + "video;track\na b.mp4;x\nc.mp4;\n".encode("utf-16-be"),
        "video,track\na b.mp4,x\nc.mp4,\n",
        b"\xef\xbb\xbfvideo,track\r\na b.mp4,x\r\nc.mp4,\r\n",
        "video;track\na b.mp4;x\nc.mp4\n",
        "video\ttrack\na b.mp4\tx\nc.mp4\t",
        '"video", "track"\n"a b.mp4", "x"\n"c.mp4", ""\n\n,\n',
        " Video , TRACK \r a b.mp4 ,x\rc.mp4,\r",
        ",video,track\n0,a b.mp4,x\n1,c.mp4,\n",
        "video,track,,\na b.mp4,x,,\nc.mp4,,,\n",
    ],
    ids=[
        "sep",
        "utf-16",
        "utf-16-be",
        "plain",
        "excel",
        "semicolon",
        "tab",
        "quoted",
        "mac",
        "pandas-index",
        "trailing-commas",
    ],
)
def test_spellings_of_one_table(tmp_path, content):
    table = read_csv(put(tmp_path, content), KNOWN)
    assert table.columns == {"video": ["a b.mp4", "c.mp4"], "track": ["x", ""]}
    first = 2 if str(content).startswith("sep=") else 1
    assert (table.header_line, table.lines, table.faults) == (first, [first + 1, first + 2], [])


def test_lines_are_those_of_the_file(tmp_path):
    table = read_csv(put(tmp_path, '\n\nvideo,track\n"a\nb",x\n\n,\nc,y\n d \n\n'), KNOWN)
    assert (table.header_line, table.lines, table.blank_lines) == (3, [4, 8, 9], [6, 7])
    assert list(table.rows())[-1] == (9, {"video": "d", "track": ""})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty: a header"),
        (b"\xef\xbb\xbf\r\n ,, \r\n", "empty: a header"),
        ("video,track\n\n", "no rows below the header"),
        (b"video,track\na,b\nM\xfcller.mp4,x\n", "line 3: not UTF-8 text: save it as CSV in UTF-8"),
        (b"\xff\xfev\0i\0d\0e\0o\0\n\0\0\xd8", "line 2: not UTF-16 text: save it as CSV in UTF-8"),
        ("video\na.mp4\n".encode("utf-16-le"), "line 1: a NUL byte, so this is not text, or UTF-16 without its mark"),
        (b"PK\x03\x04\x14\x00", "a workbook, not a CSV: save the sheet as CSV in UTF-8"),
        ("sep=|\nvideo|track\na|b\n", r"line 1: 'sep=\|': cells must be separated by"),
        ("sep=;\n", "empty: a header"),
        ('video,track\na,b\n"c,d\ne,f\n', r"line 3: its quotes or line ends are broken \(unexpected end"),
        ('video,track\n"a"b,c\n', "line 2: its quotes or line ends are broken"),
        ("video\n" + "x" * 200_000, "line 2: its quotes or line ends are broken"),
    ],
)
def test_what_is_no_csv_is_explained(tmp_path, content, message):
    with pytest.raises(BadInputError, match=rf"x\.csv[,:] {message}"):
        read_csv(put(tmp_path, content), KNOWN)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(BadInputError, match=r"^mine: the file is missing$"):
        read_csv(tmp_path / "gone.csv", KNOWN, "mine")
    with pytest.raises(BadInputError, match=r"cannot be read: Is a directory"):
        read_csv(tmp_path, KNOWN)


def test_too_many_cells_and_a_column_twice_are_faults(tmp_path):
    table = read_csv(put(tmp_path, "video,track,video\na,b,c,d\n,,,,\ne,f,g,,\n"), KNOWN)
    assert table.faults == [
        (1, "column 'video' is there twice"),
        (2, "'a,b,c,d': 4 cells for 3 columns: a cell that holds ',' has to be quoted"),
    ]


def test_listing_is_in_the_order_of_lines_and_counts_the_rest():
    faults = [(9, "d"), (2, "b"), (2, "a"), (5, "c")]
    assert list_faults("f.csv", faults, 3) == "f.csv, line 2: a; line 2: b; line 5: c; 1 more lines of this file"
    assert list_faults("f.csv", faults[:1], 3) == "f.csv, line 9: d"


@pytest.mark.parametrize(("cell", "value"), [("1", 1.0), ("-.5", -0.5), ("+2.e-1", 0.2), ("00012", 12.0)])
def test_numbers(cell, value):
    assert number(cell) == value


@pytest.mark.parametrize("cell", ["", "nan", "inf", "1_0", "٣", "0,5", "1 2", "0x1", "1e", "1e400", "-1e400"])
def test_no_numbers(cell):
    assert number(cell) is None


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8).map(str.strip)


@given(
    rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8).filter(lambda rows: any(rows[-1])),
    delimiter=st.sampled_from(",;\t"),
    end=st.sampled_from(["\n", "\r\n"]),
    bom=st.booleans(),
)
def test_what_is_written_is_read(tmp_path_factory, rows, delimiter, end, bom):
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    starts = []
    for row in [("video", "track"), *rows]:
        starts.append(1 + len(re.findall("\r\n|\r|\n", text.getvalue())))
        writer.writerow(row)
    path = tmp_path_factory.mktemp("c") / "x.csv"
    path.write_bytes((b"\xef\xbb\xbf" if bom else b"") + text.getvalue().encode())
    table = read_csv(path, KNOWN)
    filled = [(line, row) for line, row in zip(starts[1:], rows, strict=True) if any(row)]
    assert [(line, (cells["video"], cells["track"])) for line, cells in table.rows()] == filled


MIXED = "column split: '0,5': a decimal comma, and '.5' on line 4 has a point: write points throughout"


@pytest.mark.parametrize(
    ("cells", "values", "faults"),
    [
        (["0,5", "-1", "1,5e1"], [0.5, -1, 15], []),
        (["0.5", "-1", "1.5e1"], [0.5, -1, 15], []),
        (["1.000,5", "1,0", "x"], [None, 1, None], []),
        (["3", "0,5", ".5"], [3, None, 0.5], [(3, MIXED)]),
    ],
)  # fmt: skip
def test_the_decimal_sign_is_one_of_two(tmp_path, cells, values, faults):
    content = "video;split\n" + "".join(f"1.5;{cell}\n" for cell in cells)
    table = read_csv(put(tmp_path, content), KNOWN, numeric=("split",))
    assert ([table.number(cell) for cell in table.columns["split"]], table.faults) == (values, faults)
