"""The annotation reader: every bad line is named, everything else is read; and the label files."""

import re
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avfusion.data.annotations import AnnotationError, count_rows, read_all, read_annotation
from avfusion.data.labels import LabelTable, read_labels, read_stamp, restamp, write_labels
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.runtime.stamps import Stamp, library_versions


def annotation(tmp_path, text: str | bytes):
    path = tmp_path / "x.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [
        b"valence,arousal\n0.5,-0.25\n-5,-5\n1,-1\n",
        b"valence,arousal\r\n0.5,-0.25\r\n-5,-5\r\n1,-1\r\n",
        b"\xef\xbb\xbfvalence,arousal\n0.5,-0.25\n-5.0,-5\n1,-1",
        b"valence,arousal\n0.5,-0.25\n-5,-5\n1,-1\n\n  \n\r\n",
        b"Valence, Arousal\n 0.5 , -2.5e-1\n-5,0.3\n+1.0,-1.\n",
        b"valence,arousal\n.5,-.25\n0.3,-5\n1,-1",
    ],
    ids=["plain", "crlf", "bom", "trailing-blanks", "spaces", "one-is-minus-5"],
)
def test_good_files_in_all_their_spellings(tmp_path, content):
    path = annotation(tmp_path, content)
    table = read_annotation(path)
    np.testing.assert_array_equal(table.valence, np.array([0.5, np.nan, 1], np.float32))
    np.testing.assert_array_equal(table.arousal, np.array([-0.25, np.nan, -1], np.float32))
    assert table.valid.tolist() == [True, False, True]
    assert count_rows(path) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("valence,arousal\n0.1,0.2\nfoo,0.1\n", "line 3: 'foo,0.1': two numbers"),
        ("valence,arousal\n0.1\n", "line 2: '0.1': two numbers"),
        ("valence,arousal\n0.1,0.2,0.3\n", "line 2: '0.1,0.2,0.3': two numbers"),
        ("valence,arousal\n0.1,0.2\n\n0.1,0.2\n", "line 3: '': two numbers"),
        ("valence,arousal\n0.1;0.2\n", "line 2: '0.1;0.2': two numbers"),
        ("valence,arousal\nnan,0.2\n", "line 2: 'nan,0.2': two numbers"),
        ("valence,arousal\n0_1,0.2\n", "line 2: '0_1,0.2': two numbers"),
        ("valence,arousal\n٠,0.2\n", "line 2: '٠,0.2': two numbers"),
        ("valence,arousal\n0.1,1.01\n", r"line 2: '0.1,1.01': out of \[-1, 1\] and not -5"),
        ("valence,arousal\n-1.01,0\n", r"line 2: '-1.01,0': out of \[-1, 1\] and not -5"),
        ("valence,arousal\n-5,-4\n", r"line 2: '-5,-4': out of \[-1, 1\] and not -5"),
        ("valence,arousal\n1e999,0\n", r"line 2: '1e999,0': out of"),
        ("Neutral,Anger\n0.1,0.2\n", "line 1: 'Neutral,Anger': the header 'valence,arousal' is needed"),
        ("0.1,0.2\n", "line 1: '0.1,0.2': the header"),
        ("arousal,valence\n0.1,0.2\n", "line 1: 'arousal,valence': the header"),
        ("", "empty: the header"),
        ("\n\n", "empty: the header"),
        ("valence,arousal\n\n", "no rows below the header"),
        (b"valence,arousal\n\xff\xfe,0\n", r"not UTF-8 text \(byte 16\)"),
    ],
)
def test_bad_lines_are_named_with_file_line_and_content(tmp_path, content, message):
    with pytest.raises(AnnotationError, match=rf"^\S*x\.txt[,:].*{message}") as error:
        read_annotation(annotation(tmp_path, content))
    assert error.value.exit_code == 2


def test_many_bad_lines_are_counted(tmp_path):
    path = annotation(tmp_path, "valence,arousal\n" + "2,2\nx\n" * 5)
    with pytest.raises(AnnotationError, match=r"line 2: '2,2'.*line 3: 'x'.*line 4.*; 7 more lines of this file"):
        read_annotation(path)


def test_all_bad_files_are_listed_in_one_go(tmp_path):
    files = {}
    for name, row in {"a": "0,0", "b": "2,0", "c": "x,0", "d": "0.1,-5"}.items():
        files[name] = tmp_path / f"{name}.txt"
        files[name].write_text(f"valence,arousal\n{row}\n")
    files["e"] = tmp_path / "missing.txt"
    with pytest.raises(BadInputError, match=r"3 of 5 .*set/b\.txt, line 2.*c\.txt, line 2.*missing\.txt: the file"):
        read_all(files, read_annotation, {"b": "set/b.txt"})
    good = read_all({"a": files["a"], "d": files["d"]}, read_annotation)
    assert good["a"].valid.tolist() == [True]
    assert good["d"].valid.tolist() == [False]


VALUES = st.one_of(st.floats(-1, 1, width=32), st.just(-5.0))


@settings(max_examples=60)
@given(
    rows=st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=40),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    bom=st.booleans(),
    blanks=st.integers(0, 3),
)
def test_what_is_written_is_read(tmp_path_factory, rows, end, bom, blanks):
    path = tmp_path_factory.mktemp("a") / "x.txt"
    text = end.join(["valence,arousal", *(f"{v!r},{a!r}" for v, a in rows)]) + end * blanks
    path.write_bytes((b"\xef\xbb\xbf" if bom else b"") + text.encode())
    table = read_annotation(path)
    valid = [-5.0 not in row for row in rows]
    assert table.valid.tolist() == valid
    expected = np.array([row if ok else (np.nan, np.nan) for row, ok in zip(rows, valid, strict=True)], np.float32)
    np.testing.assert_array_equal(np.stack([table.valence, table.arousal], 1), expected)
    assert count_rows(path) == len(rows)


BAD_ROWS = ["x,0", "0.1", "", ",", "0;0", "1,2,3", "nan,0", "1.1,0", "0,-6", "-5,5", "0x1,0", "1e5,-5", "0 1,0"]


@settings(max_examples=60)
@given(
    rows=st.lists(st.tuples(VALUES, VALUES), min_size=2, max_size=40),
    bad=st.sampled_from(BAD_ROWS),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    bom=st.booleans(),
    data=st.data(),
)
def test_a_single_bad_line_is_reported_with_its_number(tmp_path_factory, rows, bad, end, bom, data):
    lines = ["valence,arousal", *(f"{v!r},{a!r}" for v, a in rows)]
    at = data.draw(st.integers(1, len(rows) - 1))  # not the last: a blank line there is no fault
    lines[at] = bad
    path = tmp_path_factory.mktemp("a") / "x.txt"
    path.write_bytes((b"\xef\xbb\xbf" if bom else b"") + end.join(lines).encode())
    with pytest.raises(AnnotationError, match=rf"x\.txt, line {at + 1}: {re.escape(repr(bad))}: ") as error:
        read_annotation(path)
    assert str(error.value).count("line ") == 1


LINES = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["0.1,0.2", "-5,-5", "1,", ",", "1,1,1", "\r", "\n\n", "\x00", "1e5,0", "\x85"]),
)
GARBAGE = st.one_of(
    st.binary(max_size=200),
    st.lists(LINES, max_size=8).map(lambda lines: "\n".join(["valence,arousal", *lines]).encode("utf-8", "replace")),
)


@settings(max_examples=200)
@given(content=GARBAGE)
def test_garbage_is_read_or_explained(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("g") / "x.txt"
    path.write_bytes(content)
    try:
        table = read_annotation(path)
    except AnnotationError as error:
        table, message = None, str(error)
    if table is None:
        assert "x.txt" in message
        return
    assert len(table) == count_rows(path) >= 1
    assert np.abs(table.valence[table.valid]).max(initial=0) <= 1
    assert np.isnan(table.valence[~table.valid]).all()


@pytest.mark.parametrize("end", ["\u00a0", "\x1c", "\u2028 "])
def test_blanks_of_other_alphabets_at_the_end_are_no_rows(tmp_path, end):
    path = annotation(tmp_path, f"valence,arousal\n0.1,0.2\n{end}\n")
    assert len(read_annotation(path)) == count_rows(path) == 1


@pytest.mark.timeout(60)  # a pattern with two ways to match takes time by the square of the length: hours
@pytest.mark.parametrize("line", ["1" * 400_000 + "x,0", "0." + "1" * 400_000 + ",x", " " * 400_000 + "x"])
def test_a_very_long_line_is_refused_at_once(tmp_path, line):
    with pytest.raises(AnnotationError, match=r"line 2: '.{60}…': two numbers"):
        read_annotation(annotation(tmp_path, f"valence,arousal\n{line}\n"))


def test_what_cannot_be_read_is_named(tmp_path):
    (tmp_path / "x.txt").mkdir()
    with pytest.raises(AnnotationError, match=r"x\.txt: the file cannot be read \(Is a directory\)"):
        read_annotation(tmp_path / "x.txt")


def test_label_files_round_trip_with_the_same_bytes(tmp_path):
    table = LabelTable(
        np.array([0.5, np.nan], np.float32), np.array([-0.5, np.nan], np.float32), np.array([True, False])
    )
    write_labels(table, tmp_path / "a.parquet", Stamp("inputs", "code"))
    write_labels(table, tmp_path / "b.parquet", Stamp("inputs", "code"))
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    back = read_labels(tmp_path / "a.parquet")
    np.testing.assert_array_equal(back.valence, table.valence)
    assert back.valid.tolist() == [True, False]
    stamp = read_stamp(tmp_path / "a.parquet")
    assert (stamp.made, stamp.code, stamp.libraries) == ("inputs", "code", library_versions())
    restamp(tmp_path / "a.parquet", tmp_path / "same.parquet", stamp)
    assert (tmp_path / "same.parquet").read_bytes() == (tmp_path / "a.parquet").read_bytes()
    restamp(tmp_path / "a.parquet", tmp_path / "b.parquet", replace(stamp, code="other"))
    assert read_stamp(tmp_path / "b.parquet") == replace(stamp, code="other")
    assert read_labels(tmp_path / "b.parquet").valid.tolist() == [True, False]
    write_labels(replace(table, valid=np.array([True, True])), tmp_path / "b.parquet", Stamp("inputs", "code"))
    assert read_stamp(tmp_path / "b.parquet").content != stamp.content
    schema = pq.read_schema(tmp_path / "a.parquet")
    assert [f"{field.name} {field.type}" for field in schema] == [
        "frame int32", "valence float", "arousal float", "valid bool",
    ]  # fmt: skip
    assert pq.read_table(tmp_path / "a.parquet")["frame"].to_pylist() == [1, 2]


def test_a_file_that_is_no_label_file_is_refused(tmp_path):
    (tmp_path / "a.parquet").write_text("not parquet")
    with pytest.raises(AVFusionError, match=re.escape(f"{tmp_path / 'a.parquet'} is not a label file")):
        read_labels(tmp_path / "a.parquet")
