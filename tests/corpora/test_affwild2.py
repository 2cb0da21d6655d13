"""The Aff-Wild2 adapter on folder trees with its real-world irregularities; no video is opened."""

from pathlib import Path

import pytest

from avfusion.corpora.adapters import corpus_root, open_corpus
from avfusion.corpora.settings import CorpusSettings
from avfusion.runtime.errors import BadInputError

VA, EXPR, AU = "valence,arousal\n0.1,0.2\n", "Neutral,Anger,Disgust\n1\n", "AU1,AU2\n0,1\n"
PARAMS = CorpusSettings(name="affwild2", root="unused")


def put(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def tree(tmp_path):
    """Two challenges with conflicting splits, two people in one video, videos in sub-folders, two crop folders."""
    for name in ("batch1/a.mp4", "batch1/b.avi", "batch2/pair.mp4", "new_vids/deep/c.MP4", "batch2/exprvid.mp4"):
        put(tmp_path / "videos" / name)
    va = tmp_path / "annotations" / "VA_Set"
    for name in ("Train_Set/a", "Train_Set/pair", "Train_Set/pair_left", "Validation_Set/b"):
        put(va / f"{name}.txt", VA)
    for name in ("Train_Set/b", "Validation_Set/a", "Train_Set/exprvid"):
        put(tmp_path / "annotations" / "EXPR_Set" / f"{name}.txt", EXPR)
    put(tmp_path / "annotations" / "AU_Set" / "Train_Set" / "a.txt", AU)
    put(va / "Valence_Arousal_test_set_release.txt", "c\r\nc\n\n")
    put(tmp_path / "cropped_aligned" / "a" / "00001.jpg")
    put(tmp_path / "cropped_aligned_new_50_vids" / "c" / "00001.jpg")
    put(tmp_path / "cropped_aligned_new_50_vids" / "cropped_aligned_new_50_vids" / "a" / "00002.jpg")
    put(tmp_path / "cropped_aligned" / "exprvid" / "00001.jpg")
    return tmp_path


def by_name(root, params=PARAMS):
    return {track.track: track for track in open_corpus(params, root).tracks}


def test_tracks_splits_and_files(tree):
    tracks = by_name(tree)
    assert {name: track.split for name, track in tracks.items()} == {
        "a": "train", "b": "val", "c": "test", "pair": "train", "pair_left": "train",
    }  # fmt: skip
    assert tracks["a"].video_path == "videos/batch1/a.mp4"
    assert tracks["a"].labels_path == "annotations/VA_Set/Train_Set/a.txt"
    assert tracks["a"].crops_paths == (
        "cropped_aligned/a", "cropped_aligned_new_50_vids/cropped_aligned_new_50_vids/a",
    )  # fmt: skip
    assert tracks["c"].video_path == "videos/new_vids/deep/c.MP4"
    assert tracks["c"].labels_path == ""


def test_two_people_share_their_video(tree):
    left, main = by_name(tree)["pair_left"], by_name(tree)["pair"]
    assert left.video == main.video == "pair"
    assert left.video_path == "videos/batch2/pair.mp4"
    assert (left.side, main.side) == ("left", "")


def test_a_video_whose_own_name_ends_in_left_is_its_own(tree):
    put(tree / "videos" / "pair_left.mp4")
    own = by_name(tree)["pair_left"]
    assert (own.video, own.side) == ("pair_left", "")


def test_other_challenges_are_ignored_and_counted(tree):
    notes = "\n".join(open_corpus(PARAMS, tree).notes)
    assert "annotations/EXPR_Set: 3 annotation files ignored" in notes
    assert "annotations/AU_Set: 1 annotation files ignored" in notes
    assert "1 videos belong to no valence-arousal track: exprvid" in notes
    assert "1 crop folders belong to no valence-arousal track: exprvid" in notes


def test_va_files_outside_the_split_folders_are_counted(tree):
    va = tree / "annotations" / "VA_Set"
    for name in ("Train_Set/batch1/d.txt", "Train_Set/batch1/e.txt", "Test_Set/f.txt", "Train_Set/g.csv"):
        put(va / name, VA)
    put(va / "Test_Set" / "expr.txt", EXPR)
    (va / "Test_Set" / "nowhere.txt").symlink_to(va / "gone")
    layout = open_corpus(PARAMS, tree)
    assert [track.track for track in layout.tracks] == ["a", "b", "c", "pair", "pair_left"]
    why = "(valence-arousal, but not directly in Train_Set/ or Validation_Set/, or not called .txt)"
    assert [note for note in layout.notes if note.endswith(why)] == [
        f"annotations/VA_Set/Test_Set: 1 annotation files ignored {why}",
        f"annotations/VA_Set/Train_Set: 1 annotation files ignored {why}",
        f"annotations/VA_Set/Train_Set/batch1: 2 annotation files ignored {why}",
    ]


def test_names_in_the_test_list_may_end_in_txt(tree):
    put(tree / "annotations/VA_Set/Valence_Arousal_test_set_release.txt", "\ufeffc.txt\r\nexprvid\r\n\r\nc\r\n")
    tracks = by_name(tree)
    assert {name for name, track in tracks.items() if track.split == "test"} == {"c", "exprvid"}
    assert tracks["c"].warnings == ("the test list names it 2 times",)
    assert tracks["c"].video_path == "videos/new_vids/deep/c.MP4"


def test_header_with_bom_and_crlf_counts_as_va(tree):
    (tree / "annotations/VA_Set/Train_Set/a.txt").write_bytes(b"\xef\xbb\xbfvalence,arousal\r\n0,0\r\n")
    for name in ("Train_Set/pair", "Train_Set/pair_left", "Validation_Set/b"):
        (tree / f"annotations/VA_Set/{name}.txt").unlink()
    assert by_name(tree)["a"].split == "train"


def test_several_va_sets_must_be_named(tree):
    put(tree / "annotations" / "VA_Estimation_Challenge" / "Train_Set" / "a.txt", VA)
    with pytest.raises(BadInputError, match=r"VA_Estimation_Challenge, annotations/VA_Set.*corpus\.annotations"):
        open_corpus(PARAMS, tree)
    for spelled in ("VA_Set", "annotations/VA_Set"):
        assert by_name(tree, CorpusSettings(name="affwild2", annotations=spelled))["b"].split == "val"
    with pytest.raises(BadInputError, match=r"'EXPR_Set'.*sets found: annotations/VA_Est"):
        open_corpus(CorpusSettings(name="affwild2", annotations="EXPR_Set"), tree)


def test_a_track_in_two_splits_is_an_error_that_names_both(tree):
    put(tree / "annotations/VA_Set/Validation_Set/a.txt", VA)
    put(tree / "annotations/VA_Set/Valence_Arousal_test_set_release.txt", "b\n")
    with pytest.raises(BadInputError) as error:
        open_corpus(PARAMS, tree)
    assert "a (annotations/VA_Set/Train_Set/a.txt and annotations/VA_Set/Validation_Set/a.txt)" in str(error.value)
    assert "b (annotations/VA_Set/Validation_Set/b.txt and " in str(error.value)


def test_names_that_differ_by_case_or_leave_the_folder_are_refused(tree):
    put(tree / "annotations/VA_Set/Train_Set/A.txt", VA)
    with pytest.raises(BadInputError, match="'A' and 'a' differ only by case"):
        open_corpus(PARAMS, tree)
    (tree / "annotations/VA_Set/Train_Set/A.txt").unlink()
    put(tree / "annotations/VA_Set/Valence_Arousal_test_set_release.txt", "../../etc\n")
    with pytest.raises(BadInputError, match=r"'\.\./\.\./etc'"):
        open_corpus(PARAMS, tree)


def test_missing_video_second_video_no_crops_and_leak_are_warnings(tree):
    (tree / "videos/batch1/b.avi").unlink()
    put(tree / "videos/batch2/a.mkv")
    put(tree / "annotations/VA_Set/Validation_Set/pair_right.txt", VA)
    tracks = by_name(tree)
    assert tracks["b"].video_path == ""
    assert tracks["b"].warnings == ("no video 'b' below videos/: the track cannot be used",)
    assert "no crops: faces are detected in the video" in tracks["pair"].warnings
    two = "2 videos have this name (videos/batch1/a.mp4, videos/batch2/a.mkv): the first is used"
    assert tracks["a"].warnings == (two,)
    assert "its video is in several splits (train, val)" in tracks["pair_right"].warnings


def test_a_track_that_is_named_twice_in_one_split_is_a_warning(tree):
    put(tree / "annotations/VA_Set/Training_Set/a.txt", VA)
    tracks = by_name(tree)
    files = "annotations/VA_Set/Train_Set/a.txt, annotations/VA_Set/Training_Set/a.txt"
    assert tracks["a"].labels_path == "annotations/VA_Set/Train_Set/a.txt"
    assert tracks["a"].warnings == (f"2 annotation files have this name ({files}): the first is used",)
    assert tracks["c"].warnings == ("the test list names it 2 times",)
    put(tree / "annotations/VA_Set/Validation_Set/a.txt", VA)
    with pytest.raises(
        BadInputError, match=r"two splits: a \(.*Train_Set/a\.txt and .*Validation_Set/a\.txt\): remove"
    ):
        open_corpus(PARAMS, tree)


def test_files_that_belong_to_no_track_are_all_named(tree):
    for number in range(9):
        put(tree / "videos" / f"x{number}.mp4")
    names = ", ".join(["exprvid", *(f"x{number}" for number in range(9))])
    assert f"10 videos belong to no valence-arousal track: {names}" in open_corpus(PARAMS, tree).notes


def test_test_list_by_name_and_by_parameter(tree):
    put(tree / "elsewhere.txt", "exprvid\n")
    assert by_name(tree, CorpusSettings(name="affwild2", test_list="elsewhere.txt"))["exprvid"].split == "test"
    with pytest.raises(BadInputError, match=r"corpus\.test_list .*nowhere.txt is missing"):
        open_corpus(CorpusSettings(name="affwild2", test_list="nowhere.txt"), tree)
    put(tree / "annotations/VA_Set/Valence_Arousal_Estimation_test_set_release.txt", "c\n")
    with pytest.raises(BadInputError, match="several test lists"):
        open_corpus(PARAMS, tree)


def test_without_a_test_list_there_is_a_note(tree):
    (tree / "annotations/VA_Set/Valence_Arousal_test_set_release.txt").unlink()
    layout = open_corpus(PARAMS, tree)
    assert "c" not in {track.track for track in layout.tracks}
    assert any("no test list" in note for note in layout.notes)


def test_missing_root_and_folders_say_what_was_found_instead(tree):
    with pytest.raises(BadInputError, match=r"nothere is missing .*videos/, annotations/.*has annotations/, cropped"):
        open_corpus(PARAMS, tree / "nothere")
    above = tree / "download"
    above.mkdir()
    (tree / "videos").rename(above / "videos")
    (tree / "annotations").rename(above / "annotations")
    with pytest.raises(BadInputError, match=rf"has no folder videos/.*found instead: crop.*did you mean {above}\?"):
        open_corpus(PARAMS, tree)


def test_no_va_annotations_says_what_was_found(tree):
    for path in (tree / "annotations/VA_Set").rglob("*.txt"):
        path.unlink()
    with pytest.raises(BadInputError, match="found instead: annotations/AU_Set, annotations/EXPR_Set"):
        open_corpus(PARAMS, tree)


def test_a_link_in_a_circle_ends(tree):
    (tree / "videos/batch1/loop").symlink_to(tree / "videos")
    assert by_name(tree)["a"].warnings == ()
    before = by_name(tree)
    crops = tree / "cropped_aligned"
    (crops / "cropped_aligned").symlink_to(crops)
    (crops / "cropped_aligned_root").symlink_to(tree)
    assert by_name(tree) == before


def test_root_is_absolute_or_from_the_project(tmp_path):
    assert corpus_root(tmp_path, CorpusSettings(name="affwild2", root="data/raw")) == tmp_path / "data/raw"
    assert corpus_root(tmp_path, CorpusSettings(name="affwild2", root="/elsewhere")) == Path("/elsewhere")


def test_a_demo_that_is_not_rendered_says_how(tmp_path):
    with pytest.raises(BadInputError, match=r"not rendered .*run `make demo`"):
        open_corpus(CorpusSettings(name="demo"), tmp_path / "demo")
