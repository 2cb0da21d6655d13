"""Attributes of people: columns of the manifest with few categories."""

from pathlib import Path

import pytest

from avfusion.corpora.attributes import describe_attributes
from avfusion.corpora.layout import RawTrack
from avfusion.corpora.table import Track, read_tracks, write_tracks
from avfusion.runtime.errors import BadInputError
from tests.corpora.own_files import opened


def test_each_column_is_an_attribute_and_a_blank_cell_is_not_given(root: Path) -> None:
    rows = ["videos/a.mp4,f,18 to 29", "videos/b.mov, m ,", "s1/cam.mp4,,30 and more"]
    tracks = opened(root, "video,Attribute,attribute: Age Group", *rows)
    assert {name: track.attributes for name, track in tracks.items()} == {
        "a": (("attribute", "f"), ("age group", "18 to 29")),
        "b": (("attribute", "m"), ("age group", "")),
        "cam": (("attribute", ""), ("age group", "30 and more")),
    }
    assert opened(root, "video", "videos/a.mp4")["a"].attributes == ()


def raw(number: int, *attributes: tuple[str, str]) -> RawTrack:
    return RawTrack(f"t{number}", f"v{number}", "train", "", attributes=attributes)


def test_the_tracks_of_each_category_are_counted_and_a_lone_one_is_told() -> None:
    tracks = [raw(n, ("sex", "fm"[n % 2]), ("skin", "" if n else "III"), ("empty", "")) for n in range(5)]
    assert describe_attributes(tracks) == {
        "sex": ("tracks: f: 3, m: 2", ""),
        "skin": ("tracks: III: 1, (not given): 4", "one category: there is nothing to compare"),
        "empty": ("tracks: (not given): 5", "no category: there is nothing to compare"),
    }
    assert describe_attributes([raw(0)]) == {}


@pytest.mark.parametrize(
    ("header", "cell", "message"),
    [
        ("attribute:sex", "x" * 61, "line 2: column attribute:sex: .*must be a category of at most 60 printable"),
        ("attribute:sex", "(not given)", "line 2: column attribute:sex: '.not given.': must be a category"),
        ("attribute:", "f", "line 1: column 'attribute:' is unknown: .*attribute, attribute:NAME"),
        ("atribute", "f", "line 1: column 'atribute' is unknown: did you mean attribute[?] "),
        ("attribute:sex,attribute:sex", "f,m", "line 1: column 'attribute:sex' is there twice"),
    ],
)
def test_columns_and_cells_that_cannot_be_used(root: Path, header: str, cell: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        opened(root, f"video,{header}", f"videos/a.mp4,{cell}")


@pytest.mark.parametrize("column", ["attribute", "attribute:age"])
def test_a_column_of_numbers_is_no_attribute(root: Path, column: str) -> None:
    rows = [f"videos/a.mp4,t{number},{number + 20}" for number in range(21)]
    opened(root, f"video,track,{column}", *rows[:20])
    with pytest.raises(
        BadInputError, match=rf"line 1: column {column}: 21 categories \(20, 21, 22 …\): must be at most 20"
    ):
        opened(root, f"video,track,{column}", *rows)


def test_the_table_of_tracks_keeps_group_and_attributes(tmp_path: Path) -> None:
    facts = ("train", "v.mp4", (), "", "", "", "", 40, 25.0, 1.6, True, 40, 40, ())
    tracks = [
        Track("a", "a", *facts, group="anna", attributes=(("sex", "f"), ("age", ""))),
        Track("b", "b", *facts),
    ]
    write_tracks(tmp_path / "tracks.parquet", tracks)
    assert read_tracks(tmp_path / "tracks.parquet") == tracks
    assert tracks[1].group == "b"
