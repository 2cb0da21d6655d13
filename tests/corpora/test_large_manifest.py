"""A manifest of many rows or columns is read in time and memory of its size, and tells how far it is."""

import pytest

from avfusion.corpora.adapters import open_corpus
from avfusion.corpora.csv_table import read_csv
from avfusion.corpora.settings import CorpusSettings
from avfusion.runtime import progress
from avfusion.runtime.errors import BadInputError
from tests.corpora.own_files import FILES, opened, put


def test_reading_tells_how_far_it_is(root, monkeypatch, capsys):
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0.0)
    assert len(opened(root, "video", *FILES[:3])) == 3
    said = capsys.readouterr()
    assert "reading manifest.csv: 1/3, " in said.err
    assert "reading manifest.csv: 3/3 done in " in said.err
    assert said.out == ""


def test_files_of_many_tracks_are_named_by_the_first(root):
    rows = [f"s1/cam.mp4,a{number:03}_left" for number in range(300)] + ["s2/cam.mp4,a000"]
    with pytest.raises(BadInputError) as caught:
        opened(root, "video,track", *rows)
    assert "'a000' and 'a000_left', 'a001_left'" in str(caught.value)
    assert "'a004_left' and 295 more (line 2) are of two files" in str(caught.value)
    assert "a005_left" not in str(caught.value)


def test_rows_that_leave_out_most_cells_take_no_memory_for_them(tmp_path):
    """100 kB that would become 2.5 billion cells."""
    put(tmp_path / "m.csv", "video" + "," * 50_000, *["x"] * 50_000)
    with pytest.raises(BadInputError, match=r"m\.csv: 50,001 columns, of which rows leave out more than 10,000,000"):
        read_csv(tmp_path / "m.csv", ("video",))


def test_many_unknown_or_equal_columns_are_refused_shortly(root):
    put(root / "manifest.csv", ",".join(f"vide{number}" for number in range(20_000)), "x")
    with pytest.raises(BadInputError, match=r"manifest\.csv, line 1: there is no column video") as caught:
        open_corpus(CorpusSettings(name="manifest"), root)
    assert len(str(caught.value)) < 1000
    put(root / "manifest.csv", "video," + ",".join(f"splits{number}" for number in range(20_000)), FILES[0])
    with pytest.raises(BadInputError, match=r"'splits0' is unknown: did you mean split\?") as caught:
        open_corpus(CorpusSettings(name="manifest"), root)
    assert "19980 more lines of this file" in str(caught.value)
    put(root / "manifest.csv", ",".join(["video"] * 100_000), FILES[0])
    with pytest.raises(BadInputError, match="column 'video' is there twice"):
        open_corpus(CorpusSettings(name="manifest"), root)
