"""Own label files: the three forms, and every fault with its line."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avfusion.data.annotations import AnnotationError
from avfusion.data.label_coverage import compare_own_labels, label_fault
from avfusion.data.own_labels import OwnLabels, read_own_labels
from avfusion.media.probe import MediaInfo


def put(tmp_path, content: str | bytes):
    path = tmp_path / "x.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("content", "by", "stamps"),
    [
        ("valence,arousal\n.5,-1\n-5,0\n1,1\n", "row", [1, 2, 3]),
        (b"\xef\xbb\xbfArousal;who;Valence\r\n-1;x;0.5\r\n0.25;y;-5\r\n1.0;z;1\r\n\r\n", "row", [1, 2, 3]),
        ("frame,valence,arousal\n2,.5,-1\n\n3,.5,-5.0\n00007,1,1\n", "frame", [2, 3, 7]),
        ("frame,time_s,valence,arousal\n0,9,.5,-1\n3.0,9,.5,-5.0\n7,9,1,1\n", "frame", [0, 3, 7]),
        (",arousal,valence,time\n0,-1,.5,-0.5\n1,-5,.5,1e-1\n2,1,1,4\n", "time", [-0.5, 0.1, 4]),
    ],
)
def test_the_three_forms(tmp_path, content, by, stamps):
    labels = read_own_labels(put(tmp_path, content))
    assert (labels.by, labels.stamps.tolist(), labels.warnings) == (by, stamps, ())
    np.testing.assert_array_equal(labels.values, [[0.5, -1], [np.nan, np.nan], [1, 1]])
    assert labels.valid.tolist() == [True, False, True]
    assert len(labels) == 3


@pytest.mark.parametrize("by", ["frame", "time"])
def test_rows_out_of_order_are_sorted_with_a_warning(tmp_path, by):
    labels = read_own_labels(put(tmp_path, f"{by},valence,arousal\n3,.3,0\n1,.1,0\n2,-5,0\n7,.7,0\n5,.5,0\n"))
    assert labels.stamps.tolist() == [1, 2, 3, 5, 7]
    np.testing.assert_array_equal(labels.values[:, 0], [0.1, np.nan, 0.3, 0.5, 0.7])
    assert labels.valid.tolist() == [True, False, True, True, True]
    assert labels.warnings == (f"the labels are not in the order of their column {by} (2 steps back): sorted",)


VALUE = r"must be a number in \[-1, 1\], or -5 \(not annotated\)"
BLANK = r"must be a number in \[-1, 1\]: write -5 for what was not annotated"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("valence,arousal\n0,0\n0,x\n", f"line 3: column arousal: 'x': {VALUE}"),
        ("valence,arousal\n,0\n", f"line 2: column valence: '': {BLANK}"),
        ("valence,arousal\n0\n", f"line 2: column arousal: '': {BLANK}"),
        ("valence,arousal\n0,N/A\n", f"line 2: column arousal: 'N/A': {BLANK}"),
        ("valence,arousal\nnan,0\n", f"line 2: column valence: 'nan': {BLANK}"),
        (
            "valence;arousal\n0;0.1\n0,5;0\n",
            r"line 3: column valence: '0,5': a decimal comma, and '0\.1' on line 2 has a point: write points",
        ),
        ("valence;arousal\n0,5,1;0\n", f"line 2: column valence: '0,5,1': {VALUE}"),
        ("valence,arousal\n0,5,0,3\n", "line 2: '0,5,0,3': 4 cells for 2 columns: .* and decimals need a point"),
        (
            "valence,arousal\n9,0\n1,0\n5,-5\n",
            r"line 2: column valence: '9': out of \[-1, 1\] and not -5 \(the column has 1 to 9: rescale it to \[-1, "
            r"1\]\); line 4: column valence: '5': out of \[-1, 1\] and not -5$",
        ),
        ("valence,arousal\n0,1.01\n", r"line 2: column arousal: '1\.01': out of \[-1, 1\] and not -5$"),
        (
            "valence,arousal\n-4,1e999\n",
            r"2: column arousal: '1e999': must be a number in .*; line 2: column valence: '-4': out",
        ),
        ("valence,arousal\n0,0,7\n", "line 2: '0,0,7': 3 cells for 2 columns"),
        ("valence,arousal\n0,0\n\n0,0\n", "line 3: a blank row: there has to be one row for every frame"),
        (
            "valenz,arousal\n0,0\n",
            r"there is no column valence \(found: 'valenz', 'arousal'\), did you mean 'val",
        ),
        ("0.1,0.2\n0,0\n", "there is no column arousal .*there is no column valence"),
        ("valence,valence,arousal\n0,0,0\n", "line 1: column 'valence' is there twice"),
        ("frame,time,valence,arousal\n1,0,0,0\n", "line 1: there are both columns, frame and time: remove one"),
        ("timestamp,valence,arousal\n0,0,0\n", "line 1: column 'timestamp' looks as if it said where the rows belong"),
        *(
            (f"{name},valence,arousal\n0,0,0\n", f"line 1: column '{name}' looks as if")
            for name in ("frame_number", "frametime", "frame_no", "time_ms", "videoframe", "start_time1")
        ),
        (
            "frame,valence,arousal\n1.5,0,0\n",
            r"line 2: column frame: '1\.5': must be a frame number, counted from 1",
        ),
        ("frame,valence,arousal\n-1,0,0\n", "line 2: column frame: '-1': must be a frame number"),
        ("frame,valence,arousal\n1e12,0,0\n", "line 2: column frame: '1e12': must be a frame number"),
        ("frame,valence,arousal\n00001.jpg,0,0\n", r"line 2: column frame: '00001\.jpg': must be a frame number"),
        ("frame,valence,arousal\n4,0,0\n3,0,0\n04,0,0\n", "line 4: column frame: 4 is on line 2 already"),
        ("time,valence,arousal\n0.5,0,0\n1,0,0\n.50,0,0\n", r"line 4: column time: 0\.5 is on line 2 already"),
        ("time,valence,arousal\n00:01,0,0\n", "line 2: column time: '00:01': must be seconds from the video's first"),
        ("time,valence,arousal\n1.7e9,0,0\n", "line 2: column time: '1.7e9': must be seconds from .*, at most 1000000"),
        (
            "time,valence,arousal\n2024-05-01T10:00:00,0,0\n",
            "line 2: column time: '2024-05.*, not a clock time, a date",
        ),
        ("sep=|\nvalence|arousal\n0|0\n", r"line 1: 'sep=\|': cells must be separated by ',', ';' or a tab"),
        ("", "empty: a header"),
        ("valence,arousal\n", "no rows below the header"),
        (b"valence,arousal\n0,0\n\xff,0\n", "line 3: not UTF-8 text"),
        ('valence,arousal\n0,0\n"0,0\n', "line 3: its quotes or line ends are broken"),
    ],
)
def test_faults_have_line_column_value_and_what_is_allowed(tmp_path, content, message):
    with pytest.raises(AnnotationError, match=rf"^mine\.csv[,:] .*{message}") as error:
        read_own_labels(put(tmp_path, content), "mine.csv")
    assert error.value.exit_code == 2


CLOCK = ["10:00:59.9", "10:01:00", "10:01:00.25"]
DATES = ["2024-05-31T23:59:59.96", "2024-06-01T00:00:00.00", "2024-06-01T00:00:00.04"]
LOOKS = "looks as if it said where the rows belong"


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        *((name, ["0", "1", "2"]) for name in ("seconds", "t", "index", "Sekunde", "ms", "Zeit", "second")),
        *((name, ["3", "1", "1"]) for name in ("t", "Start (s)", "end_ms", "Zeit", "start frame")),  # by name alone
        ("moment", ["0", "0.04", "0.08"]),
        ("moment", ["0,96", "1,0", "1,04"]),
        ("backwards", ["9", "8.5", "8"]),
        ("nr", ["-1", "0", "1"]),
        ("when", CLOCK),
        ("taken", DATES),
        ("image_location", ["p1/00009.jpg", "p1/00010.jpg", "p1/00011.jpg"]),
        ("", ["0", "1", "2"]),
        ("", ["1711965600000", "1711965600040", "1711965600080"]),
    ],
)
def test_a_column_that_says_where_rows_belong_is_never_taken_for_a_row_per_frame(tmp_path, name, cells):
    lines = [f"{name};valence;arousal", *(f"{cell};0;1" for cell in cells)]
    shown = f"column {name.lower()!r}" if name else "a column without a name"
    message = rf"line 1: {re.escape(shown)} {LOOKS} \({re.escape(repr(cells[0]))} to .*: call it `frame` .* or `time`"
    with pytest.raises(AnnotationError, match=message):
        read_own_labels(put(tmp_path, "\n".join(lines)))
    lines = [f"{name};valence;arousal;time", *(f"{cell};0;1;{row}" for row, cell in enumerate(cells))]
    assert read_own_labels(put(tmp_path, "\n".join(lines))).by == "time", "a column `time` says it already"


def test_all_columns_that_say_it_are_listed(tmp_path):
    with pytest.raises(AnnotationError, match=rf"line 1: column 'end' {LOOKS}.*; line 1: column 'start' {LOOKS}"):
        read_own_labels(put(tmp_path, "start,end,valence,arousal\n0,1,0,0\n1,2,0,0\n"))


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("rater", ["1", "1", "1"]),
        ("rater", ["anna", "ben", "cora"]),
        ("confidence", ["0.9", "0.95", "0.2"]),
        ("second_rater", ["0.1", "0.5", "0.2"]),
        ("sentiment", ["pos", "neg", "pos"]),
        ("Centimeter", ["3", "1", "2"]),
        ("size_in_centimeters", ["3", "1", "2"]),
        ("", ["", "", ""]),
        ("note", ["take 3", "bad", "take 4"]),
    ],
)
def test_other_columns_are_ignored(tmp_path, name, cells):
    rows = [f"{cell},{row / 9},0" for row, cell in enumerate(cells)]
    labels = read_own_labels(put(tmp_path, "\n".join([f"{name},Valence,AROUSAL", *rows])))
    assert (labels.by, labels.values[:, 0].tolist()) == ("row", [0, 1 / 9, 2 / 9])


TABLE = "{sep}time{d}valence{d}arousal\n0{c}5{d}0{c}25{d}-1\n1{d}-5{d}0\n2{d}1{c}0{d}1e-1\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize(
    ("sep", "d", "c"),
    [("", ";", ","), ("", "\t", ","), ("sep=;\r\n", ";", ","), ("SEP=,\n", ",", "."), ('"sep=\t"\n', "\t", ".")],
)
def test_spellings_of_spreadsheets(tmp_path, encoding, sep, d, c):
    content = TABLE.format(sep=sep, d=d, c=c).encode(encoding)
    labels = read_own_labels(put(tmp_path, b"\xfe\xff" + content if encoding == "utf-16-be" else content))
    assert (labels.by, labels.stamps.tolist(), labels.valid.tolist()) == ("time", [0.5, 1, 2], [True, False, True])
    np.testing.assert_array_equal(labels.values[[0, 2]], [[0.25, -1], [1, 0.1]])


def test_lines_are_counted_from_the_line_that_names_the_separator(tmp_path):
    with pytest.raises(AnnotationError, match=r"line 4: column valence: '1,5': out of \[-1, 1\]"):
        read_own_labels(put(tmp_path, "sep=;\nvalence;arousal\n0,5;0\n1,5;0\n".encode("utf-16")))


def test_many_faults_are_counted_and_a_missing_file_is_named(tmp_path):
    with pytest.raises(AnnotationError, match=r"line 2: .*; line 3: .*; line 4: .*; 6 more lines of this file$"):
        read_own_labels(put(tmp_path, "valence,arousal\n" + "2,0\n" * 9))
    with pytest.raises(AnnotationError, match=re.escape(f"{tmp_path}/gone.csv: the file is missing")):
        read_own_labels(tmp_path / "gone.csv")


VALUES = st.floats(-1, 1) | st.just(-5.0)


@st.composite
def label_files(draw):
    """Form, stamps, values, and the lines of a file that holds them."""
    by = draw(st.sampled_from(["row", "frame", "time"]))
    rows = draw(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=20))
    kinds = {"row": st.nothing(), "frame": st.integers(0, 10**9), "time": st.floats(-1e6, 1e6)}
    stamps = list(range(1, len(rows) + 1))
    if by != "row":
        stamps = sorted(draw(st.lists(kinds[by], min_size=len(rows), max_size=len(rows), unique=True)))
    order = draw(st.permutations(["valence", "arousal", "note", *([] if by == "row" else [by])]))
    delimiter = draw(st.sampled_from(",;\t"))
    lines = [delimiter.join(order)]
    for stamp, (valence, arousal) in zip(stamps, rows, strict=True):
        cells = {"valence": repr(valence), "arousal": repr(arousal), "note": '"a, b"', by: repr(stamp)}
        lines.append(delimiter.join(cells[column] for column in order))
    return by, stamps, rows, lines


ENDS = {"end": st.sampled_from(["\n", "\r\n", "\r"]), "bom": st.booleans(), "blanks": st.integers(0, 3)}


def encoded(lines, end, bom, blanks):
    return (b"\xef\xbb\xbf" if bom else b"") + (end.join(lines) + end * blanks).encode()


@settings(max_examples=60)
@given(file=label_files(), **ENDS)
def test_what_is_written_is_read(tmp_path_factory, file, end, bom, blanks):
    by, stamps, rows, lines = file
    labels = read_own_labels(put(tmp_path_factory.mktemp("l"), encoded(lines, end, bom, blanks)))
    valid = [-5.0 not in row for row in rows]
    assert (labels.by, labels.stamps.tolist(), labels.valid.tolist()) == (by, stamps, valid)
    expected = [row if ok else (np.nan, np.nan) for row, ok in zip(rows, valid, strict=True)]
    np.testing.assert_array_equal(labels.values, expected)


@settings(max_examples=60)
@given(file=label_files(), data=st.data(), **ENDS)
def test_a_single_bad_row_is_reported_with_its_line(tmp_path_factory, file, data, end, bom, blanks):
    by, _, _, lines = file
    at = data.draw(st.integers(1, len(lines) - 1))
    delimiter = next(mark for mark in ",;\t" if mark in lines[0])
    header, cells = lines[0].split(delimiter), lines[at].replace('"a, b"', "ab").split(delimiter)
    column = data.draw(st.sampled_from(["valence", "arousal", *([] if by == "row" else [by])]))
    cells[header.index(column)] = data.draw(st.sampled_from(["x", "", "1e7", "-7", "nan", "1:2", "--1"]))
    if (column == "frame" and cells[header.index(column)] == "1e7") or (column == "time" and "-7" in cells):
        cells[header.index(column)] = "?"
    lines[at] = delimiter.join(cells)
    path = put(tmp_path_factory.mktemp("l"), encoded(lines, end, bom, blanks))
    with pytest.raises(AnnotationError, match=rf"x\.csv, line {at + 1}: column {column}: ") as error:
        read_own_labels(path)
    assert str(error.value).count("line ") == 1


ROWS = (
    "{} rows for the 100 frames of its video ({} rows a second): without a column `frame` or `time` every frame needs "
    "a row, 2 more or fewer at most: add `time` (seconds from the first frame) or `frame` (numbers from 1)"
)
BEYOND = (
    "its times begin at {} s, beyond the video's 4 s: `time` counts seconds from the video's first frame: subtract the "
    "clock time of that frame"
)
OTHER_RATE = (
    "its column frame runs to {}, its video has 100 frames: these are frames of another rate or video: number the "
    "frames of this video from 1, or write `time` (seconds from the first frame) instead"
)
FROM_0 = (
    "its column frame runs from 0 to {}, its video has 100 frames: it counts from 0, frames are numbered from 1: add 1 "
    "to each"
)
INFO = MediaInfo(100, 25.0, 4.0, 64, 64, False, 0, 0, None, None, ())


@pytest.mark.parametrize(
    ("stamps", "delay_s", "expected"),
    [
        ({"row": range(1, 101)}, 0, []),
        ({"row": range(1, 103)}, 0, ["102 label rows for 100 video frames: the last 2 are not used"]),
        ({"row": range(1, 99)}, 0, ["98 label rows for 100 video frames: the last 2 frames have no label"]),
        ({"row": range(1, 104)}, 0, [ROWS.format(103, "25.8")]),
        ({"row": range(1, 51)}, 0, [ROWS.format(50, "12.5")]),
        ({"row": range(1, 5)}, 0, [ROWS.format(4, "1")]),
        ({"row": range(1, 129)}, 1.0, [ROWS.format(128, "32")]),
        ({"frame": range(1, 101)}, 0, []),
        ({"frame": range(1, 101, 2)}, 0, ["50 of 100 video frames have no label"]),
        (
            {"frame": range(0, 102)},
            0,
            [
                "there is a label of frame 0, which is not used: frames are numbered from 1",
                "1 labels of frames beyond the last of 100 video frames are not used",
            ],
        ),
        ({"time": np.arange(0, 4, 0.1)}, 0, []),
        (
            {"time": np.arange(0.5, 3, 0.1)},
            0,
            ["the labels describe 0.50 to 2.90 s, the video has 0 to 4.00 s: about 38 of 100 frames have no label"],
        ),
        (
            {"time": np.arange(0, 9, 0.5)},
            0,
            ["the labels describe 0.00 to 8.50 s, the video has 0 to 4.00 s: what lies beyond is not used"],
        ),
        ({"time": np.arange(500, 700, 40)}, 0, [BEYOND.format("500")]),
        ({"time": np.arange(36000, 36004, 0.04)}, 0, [BEYOND.format("36000")]),
        ({"time": np.arange(3600, 3604, 0.5)}, 0, [BEYOND.format("3600")]),
        (
            {"time": range(-9, -4)},
            0,
            ["the labels describe -9.00 to -5.00 s, the video has 0 to 4.00 s: no frame has a label"],
        ),
        (
            {"time": np.arange(0, 9.01, 0.5)},
            0,
            [
                "its times reach 9 s, beyond the video's 4 s, and more than half lie there: `time` counts seconds from "
                "the video's first frame: convert other units, or remove the rows beyond the end"
            ],
        ),
        ({"frame": range(1, 121)}, 0, [OTHER_RATE.format(120)]),
        ({"frame": range(100)}, 0, [FROM_0.format(99)]),
        ({"frame": range(99)}, 0, [FROM_0.format(98)]),
        ({"frame": range(110)}, 1.0, [FROM_0.format(109)]),
        (
            {"frame": range(0, 100, 3)},
            0,
            [
                "its column frame begins with 0, with gaps: frames are numbered from 1: add 1 to each",
            ],
        ),
        ({"frame": range(500, 600)}, 0, [OTHER_RATE.format(599)]),
        ({"frame": range(1, 126)}, 1.0, []),
        (
            {"row": range(1, 101)},
            1.0,
            [
                "the labels describe -1.00 to 2.96 s (label_delay_s 1 subtracted), the video has 0 to 4.00 s: "
                "about 25 of 100 frames have no label"
            ],
        ),
        ({"row": range(1, 126)}, 1.0, []),
        (
            {"time": np.arange(0, 4000, 40)},
            0,
            [
                "its column time runs to 3960, its video lasts 4 s: these are milliseconds, seconds are needed: "
                "divide them by 1000"
            ],
        ),
    ],
)  # fmt: skip
def test_how_labels_and_frames_disagree(tmp_path, stamps, delay_s, expected):
    ((by, values),) = stamps.items()
    rows = [f"{stamp:.9g},0,{-5 if index % 7 == 3 else 0}" for index, stamp in enumerate(values)]
    header, rows = f"{by},valence,arousal", rows
    if by == "row":
        header, rows = "valence,arousal", [row.partition(",")[2] for row in rows]
    labels = read_own_labels(put(tmp_path, "\n".join([header, *rows])))
    assert compare_own_labels(labels, INFO, delay_s) == expected


NUMBERS = (
    r"its column time has whole numbers to \d+, .* {} frames, which last {} s: these look like frame numbers: write"
)
BEYOND_END = r"its times reach {} s, beyond the video's {} s, and more than half lie there: "
MINUTES = r"its column time has {} rows, but spans {} of the video's {} s: are these minutes\? .* by 60$"


@pytest.mark.parametrize(
    ("stamps", "frames", "duration_s", "delay_s", "fault"),
    [
        (np.arange(200), 200, 20.0, 0, NUMBERS.format(200, 20)),  # 10 fps
        (np.arange(1, 41), 40, 20.0, 0, NUMBERS.format(40, 20)),  # 2 fps: half of them lie inside
        (np.arange(199), 200, 20.0, 0, NUMBERS.format(200, 20)),
        (np.arange(230), 200, 20.0, 3, NUMBERS.format(200, 20)),
        (np.arange(1, 13), 12, 0.48, 0, NUMBERS.format(12, "0.48")),
        (np.arange(60), 60, 600.0, 0, NUMBERS.format(60, 600)),  # a picture every 10 s
        (np.arange(200), 200, 200.0, 0, ""),  # 1 fps: they are seconds too
        (np.arange(20), 20, 20.0, 4, ""),
        (np.arange(1, 25), 24, 23.0, 0, ""),
        (np.arange(264), 660, 26.4, 0, BEYOND_END.format(263, "26.4")),  # samples of 10 Hz
        (np.arange(0, 2640, 4), 660, 26.4, 0, BEYOND_END.format(2636, "26.4")),
        (np.arange(0, 12, 0.25), 125, 5.0, 0.5, BEYOND_END.format("11.75", 5)),
        (np.arange(0, 10, 0.25), 125, 5.0, 1, ""),
        (np.arange(0, 30, 0.5), 660, 26.4, 0, ""),
        (np.arange(660) / 25 / 60, 660, 26.4, 0, MINUTES.format(660, "0.439", "26.4")),
        (np.arange(654) / 25 / 60, 660, 26.4, 0, MINUTES.format(654, "0.435", "26.4")),
        (np.arange(660) / 25 / 3600, 660, 26.4, 0, MINUTES.format(660, "0.00732", "26.4")),
        (np.arange(27) / 60, 660, 26.4, 0, MINUTES.format(27, "0.433", "26.4")),  # once a second
        (np.arange(660) / 25, 660, 26.4, 0, ""),
        (np.arange(0, 3, 0.5), 660, 26.4, 0, ""),  # shorter than the video
        (np.arange(600), 15000, 600.0, 0, ""),  # 1 Hz
        (np.arange(300), 15000, 600.0, 0, ""),
        ([0], 3, 0.12, 0, ""),
    ],
)
def test_times_of_other_units_are_refused_and_no_others(stamps, frames, duration_s, delay_s, fault):
    labels = OwnLabels("time", np.asarray(stamps, float), np.zeros((len(stamps), 2)), np.ones(len(stamps), bool))
    found = label_fault(labels, frames, duration_s, delay_s)
    assert re.match(fault, found) if fault else not found, found


@pytest.mark.parametrize("pair", ["-5,-5", "-5,0.5", "0.5,-5.0"])
def test_labels_of_which_none_is_annotated(tmp_path, pair):
    labels = read_own_labels(put(tmp_path, "valence,arousal\n" + f"{pair}\n" * 100))
    assert compare_own_labels(labels, INFO, 0) == ["nothing is annotated: every label is -5"]
