"""The manifest adapter: what a row means, and every fault with its line; no video is opened."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avfusion.corpora.adapters import open_corpus
from avfusion.corpora.layout import RawTrack
from avfusion.corpora.manifest import COLUMNS
from avfusion.corpora.settings import CorpusSettings
from avfusion.corpora.sources import describe_sources, read_sources, scan
from avfusion.runtime.errors import BadInputError
from tests.corpora.own_files import opened, put

PARAMS = CorpusSettings(name="manifest")


def test_all_columns_and_their_defaults(root):
    tracks = opened(
        root,
        "video,track,split,crops,labels,label_delay_s",
        "videos/b.mov,,,,,",
        "videos/a.mp4,first,train,crops/a,labels/a.csv,2.5",
    )
    assert tracks == {
        "first": RawTrack(
            "first", "first", "train", "videos/a.mp4", ("crops/a",), "labels/a.csv", (), "csv", 2.5
        ),
        "b": RawTrack("b", "b", "", "videos/b.mov", label_format="csv"),
    }  # fmt: skip
    assert opened(root, "video", "videos/b.mov")["b"] == tracks["b"]
    layout = open_corpus(PARAMS, root)
    assert layout.extra_sources == ("manifest.csv",)
    assert layout.notes == ("1 track of no split: features only, neither trained on nor scored: b",)


def test_tracks_are_sorted_whatever_the_order_of_rows(root):
    put(root / "manifest.csv", "video", "videos/b.mov", "s1/cam.mp4", "videos/a.mp4")
    assert [track.track for track in open_corpus(PARAMS, root).tracks] == ["a", "b", "cam"]


def test_paths_are_from_the_manifests_folder_and_named_from_the_root(root, tmp_path):
    outside = tmp_path / "elsewhere" / "c.mp4"
    put(outside, "c")
    lines = ["video,track", "../videos/./a.mp4,", f"{root}/videos/b.mov,", f"{outside},", "../../elsewhere/c.mp4,again"]
    put(root / "lists" / "mine.csv", *lines)
    expected = {"a": "videos/a.mp4", "b": "videos/b.mov", "c": str(outside), "again": str(outside)}
    for spelled in ("lists/mine.csv", str(root / "lists" / "mine.csv"), "./videos/../lists/mine.csv"):
        layout = open_corpus(CorpusSettings(name="manifest", manifest=spelled), root / ".." / "own")
        assert {track.track: track.video_path for track in layout.tracks} == expected
    assert {track.video for track in layout.tracks} == {"a", "again", "b"}
    sources = describe_sources(layout, root)
    assert sources.keys() == {"videos/a.mp4", "videos/b.mov", str(outside), layout.extra_sources[0]}
    far = put(tmp_path / "far" / "m.csv", "video", "../own/videos/a.mp4")
    layout = open_corpus(CorpusSettings(name="manifest", manifest=str(far)), root)
    assert (layout.tracks[0].video_path, layout.extra_sources) == ("videos/a.mp4", (str(far),))


def test_a_root_that_is_a_link_changes_no_path_and_tells_no_place(root, tmp_path):
    outside = put(tmp_path / "videos" / "p.mp4", "p")
    (root / "more").symlink_to(tmp_path / "disk")
    put(tmp_path / "disk" / "deep" / "q.mp4", "q")
    put(tmp_path / "disk" / "r.mp4", "r")
    link, alias = tmp_path / "project" / "data" / "own", tmp_path / "alias"
    link.parent.mkdir(parents=True)
    for place in (link, alias):
        place.symlink_to(root)
    cells = [
        "../videos/p.mp4",
        f"{root}/videos/a.mp4",
        f"{link}/videos/b.mov",
        f"{alias}/s1/cam.mp4",
        "more/deep/q.mp4",
    ]
    put(root / "manifest.csv", "video", *cells, "more/deep/../r.mp4")
    expected = [
        "videos/a.mp4", "videos/b.mov", "s1/cam.mp4", str(outside), "more/deep/q.mp4", "more/r.mp4",
    ]  # fmt: skip
    for way in (root, link):
        layout = open_corpus(PARAMS, way)
        assert [track.video_path for track in layout.tracks] == expected
        assert layout.extra_sources == ("manifest.csv",)
        assert describe_sources(layout, way).keys() == {*expected, "manifest.csv"}
    (root / "deep").symlink_to(tmp_path / "disk" / "deep")
    assert opened(root, "video", "deep/../r.mp4")["r"].video_path == str(tmp_path / "disk" / "r.mp4")


def test_missing_labels_of_a_split_that_learns_from_them(root):
    tracks = opened(root, "video,split", "videos/a.mp4,train", "videos/b.mov,test", "s1/cam.mp4,val")
    assert tracks["a"].warnings == ("no labels: it adds nothing to the split train",)
    assert tracks["cam"].warnings == ("no labels: it adds nothing to the split val",)
    assert tracks["b"].warnings == ()


def test_a_leak_between_splits_but_not_from_no_split(root):
    lines = ["video,track,split,labels", "videos/a.mp4,a_left,train,labels/a.csv", "videos/a.mp4,a_right,,"]
    assert not any(track.warnings for track in opened(root, *lines).values())
    tracks = opened(root, *lines, "videos/a.mp4,a,test,")
    assert all("its video is in several splits (test, train)" in track.warnings for track in tracks.values())


FAULTS = [
    ("videos/a.mp4,x,train,,,,a + b", "line 2: column group: 'a + b': must be printable, at most 200 characters"),
    ("videos/a.mp4,x,train,,,zwei", "line 2: column label_delay_s: 'zwei': must be from -60 to 60 seconds, or"),
    ("videos/a.mp4,x,train,,,nan", "line 2: column label_delay_s: 'nan': must be"),
    ("videos/a.mp4,x,train,,,2500", "line 2: column label_delay_s: '2500': must be"),
    ("videos/a.mp4,x,dev,,,", "line 2: column split: 'dev': must be one of train, val, test, or blank"),
    ("videos/a.mp4,../x,,,,", "line 2: column track: '../x' has characters other than letters"),
    ("videos/a.mp4,a  b,,,,", "line 2: column track: 'a  b' has characters other than letters"),
    ("videos/z.mp4,,,,,", "line 2: column video: 'videos/z.mp4': there is no file {root}/videos/z.mp4 (paths are abs"),
    ("videos,,,,,", "line 2: column video: 'videos': must be a file, {root}/videos is no regular file"),
    (",x,,,,", "line 2: column video: '': must be the path of a video"),
    ("http://host/a.mp4,,,,,", "line 2: column video: 'http://host/a.mp4': there is no file"),
    (f"{'n' * 300}.mp4,x,,,,", "nnn…': there is no file"),
    ("videos/a.mp4,x,,crops/z,,", "line 2: column crops: 'crops/z': there is no folder {root}/crops/z"),
    ("videos/a.mp4,x,,labels/a.csv,,", "crops: 'labels/a.csv': must be a folder, {root}/labels/a.csv is a file"),
    ("videos/a.mp4,x,,,labels,", "line 2: column labels: 'labels': must be a file"),
    ("videos/a.mp4,x,,,\"la\tbels\",", "column labels: 'la\\tbels': file names must be without"),
    ("videos/a\u2028.mp4,x,,,,", "column video: 'videos/a\\u2028.mp4': file names must be"),
    ("videos/a, b.mp4,x,,,,,2", "line 2: 'videos/a,b.mp4,x,,,,,2': 8 cells for 7 columns: a cell that holds ',' has"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "message"), FAULTS)
def test_cells_that_cannot_be_used(root, row, message):
    with pytest.raises(BadInputError) as error:
        opened(root, ",".join(COLUMNS), row, "videos/b.mov,,,,,")
    assert message.format(root=root) in str(error.value)
    assert str(error.value).startswith(f"{root}/manifest.csv, line 2: ")
    assert str(error.value).count("line ") == 1 + str(error.value).count("line ends"), "no other fault"
    assert error.value.exit_code == 2


def test_doubled_names_say_where_the_first_is(root):
    with pytest.raises(BadInputError) as error:
        opened(root, "video,track", "videos/a.mp4,x", "s1/cam.mp4,", "videos/b.mov,X", "s2/cam.mp4,")
    assert "line 4: column track: 'X' differs only by case from 'x', the track of line 2 already" in str(error.value)
    assert "line 5: column track: 'cam' is the track of line 3 already" in str(error.value)


def test_all_faults_are_in_one_message_in_the_order_of_lines(root):
    with pytest.raises(BadInputError) as error:
        opened(root, "tarck,Video,age,splits", "", "x,nope.mp4,3,", "y,gone.mp4,4,train", ",,,test")
    text = str(error.value)
    parts = [
        "line 1: column 'age' is unknown: must be one of video, track, split, crops, labels, label_delay_s",
        "line 1: column 'splits' is unknown: did you mean split? must be one of",
        "line 1: column 'tarck' is unknown: did you mean track? must be one of",
        "line 3: column video: 'nope.mp4'",
        "line 4: column video: 'gone.mp4'",
        "line 5: column video: '': must be the path",
    ]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    with pytest.raises(BadInputError, match=r"line 21: .*; 9 more lines of this file$"):
        opened(root, "video", *(f"{index}.mp4" for index in range(29)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("track,split\nx,train\n", "line 1: there is no column video: the first row must name the columns"),
        (
            "videos/a.mp4,train\nvideos/b.mov,val\n",
            r"manifest\.csv, line 1: there is no column video[^;]*, ';' or tab between them$",
        ),
        (
            "video|split\nvideos/a.mp4|train\n",
            r"there is no column video: .*',', ';' or tab between them; did you mean it by 'video\|split'\?$",
        ),
        ("", "empty: a header"),
        ("video\n", "no rows below the header"),
        ("video\nM\udcfcller.mp4\n", "line 2: not UTF-8 text"),
        ('video\n"videos/a.mp4\n', "line 2: its quotes or line ends are broken"),
        ("video,video\na,b\n", "line 1: column 'video' is there twice"),
    ],
)
def test_files_that_are_no_manifest(root, content, message):
    (root / "manifest.csv").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(BadInputError, match=message):
        open_corpus(PARAMS, root)


def test_a_missing_manifest_says_what_is_there_instead(root, tmp_path):
    with pytest.raises(BadInputError, match=r"own/manifest\.csv is missing: .*column video .*own has crops/, labels/"):
        open_corpus(PARAMS, root)
    with pytest.raises(BadInputError, match=r"gone/manifest\.csv is missing: .* has own/: set corpus\.root"):
        open_corpus(PARAMS, tmp_path / "gone")
    with pytest.raises(BadInputError, match="labels is a folder"):
        open_corpus(CorpusSettings(name="manifest", manifest="labels"), root)


def test_the_scan_sees_the_manifest_and_all_that_it_names(root, tmp_path):
    lines = ["video,crops,labels", "videos/a.mp4,crops/a,labels/a.csv", "videos/b.mov,,"]
    manifest, out = put(root / "manifest.csv", *lines), tmp_path / "sources.txt"
    assert len(scan(root, PARAMS, out).added) == 5
    assert read_sources(out).keys() == {"crops/a/", "labels/a.csv", "manifest.csv", "videos/a.mp4", "videos/b.mov"}
    assert scan(root, PARAMS, out).same
    put(manifest, *lines, "")
    assert scan(root, PARAMS, out).changed == ("manifest.csv",)
    put(manifest, *lines[:-1])
    summary = scan(root, PARAMS, out)
    assert (summary.changed, summary.removed) == (("manifest.csv",), ("videos/b.mov",))


ROW = {
    "video": st.sampled_from(["videos/a.mp4", "videos/b.mov", "s1/cam.mp4"]),
    "split": st.sampled_from(["train", "val", "test", ""]),
    "crops": st.sampled_from(["crops/a", ""]),
    "labels": st.sampled_from(["labels/a.csv", ""]),
    "label_delay_s": st.floats(-60, 60).map(repr) | st.just(""),
    "group": st.sampled_from(["anna", "Ben, 2", ""]),
}
BROKEN = {"video": "gone.mp4", "track": "a/b", "split": "dev", "crops": "gone", "labels": "gone", "label_delay_s": "x"}
BROKEN |= {"group": "a + b"}


@given(
    rows=st.lists(st.fixed_dictionaries(ROW), min_size=1, max_size=6),
    order=st.permutations(COLUMNS),
    delimiter=st.sampled_from(",;\t"),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    bom=st.booleans(),
    blanks=st.integers(0, 2),
    data=st.data(),
)
def test_any_spelling_gives_the_same_tracks_and_any_bad_cell_its_line(
    root_of_properties, rows, order, delimiter, end, bom, blanks, data
):
    def written(rows):
        text = io.StringIO(newline="")
        lines = csv.DictWriter(text, order, delimiter=delimiter, lineterminator=end * (1 + blanks))
        lines.writeheader()
        lines.writerows(rows)
        path = root_of_properties / "manifest.csv"
        path.write_bytes((b"\xef\xbb\xbf" if bom else b"") + text.getvalue().encode())

    rows = [{**row, "track": f"track {index}"} for index, row in enumerate(rows)]
    written(rows)
    tracks = {track.track: track for track in open_corpus(PARAMS, root_of_properties).tracks}
    assert sorted(tracks) == [row["track"] for row in rows]
    for row in rows:
        track = tracks[row["track"]]
        assert (track.video_path, track.split, track.labels_path) == (row["video"], row["split"], row["labels"])
        assert track.crops_paths == ((row["crops"],) if row["crops"] else ())
        assert track.label_delay_s == float(row["label_delay_s"] or 0)
    at, column = data.draw(st.integers(0, len(rows) - 1)), data.draw(st.sampled_from(COLUMNS))
    rows[at][column] = BROKEN[column]
    written(rows)
    line = 1 + (at + 1) * (1 + blanks)
    with pytest.raises(BadInputError, match=rf"manifest\.csv, line {line}: column {column}: ") as error:
        open_corpus(PARAMS, root_of_properties)
    assert str(error.value).count("column ") == 1
