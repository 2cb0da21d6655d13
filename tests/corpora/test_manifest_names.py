"""What videos and tracks of a manifest are called, and which of them are one video."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avfusion.corpora.adapters import open_corpus
from avfusion.corpora.manifest import video_name
from avfusion.corpora.settings import CorpusSettings
from avfusion.runtime.errors import BadInputError
from tests.corpora.own_files import FILES, opened, put

PARAMS = CorpusSettings(name="manifest")


def test_rows_of_one_file_share_a_video_whatever_path_leads_there(root):
    (root / "link.mp4").symlink_to(root / "videos" / "a.mp4")
    tracks = opened(root, "video,track", "videos/a.mp4,a_left", "link.mp4,a_right", "videos/../videos/a.mp4,third")
    assert {(track.video, track.video_path) for track in tracks.values()} == {("a", "videos/a.mp4")}


def test_only_tracks_of_a_shared_video_that_nobody_tells_apart_are_warned_of(root):
    lines = ["video,track,crops", "videos/a.mp4,a_left,", "videos/a.mp4,a_right,", "videos/b.mov,anna_left,"]
    assert not any(track.warnings for track in opened(root, *lines).values())
    tracks = opened(root, *lines, "videos/a.mp4,anna,", "videos/a.mp4,ben,crops/a")
    warned = {track.track: track.warnings for track in tracks.values() if track.warnings}
    assert warned == {
        "anna": (
            "shares its video with other tracks, has no crops, and its name says no side (…_left, …_right): "
            "the main face is followed",
        )
    }


def test_tracks_of_a_video_that_say_the_same_side_are_warned_of(root):
    rows = ["videos/a.mp4,anna_left,", "videos/a.mp4,ben_left,", "videos/a.mp4,c_left,crops/a", "videos/b.mov,d_left,"]
    tracks = opened(root, "video,track,crops", *rows)
    warning = ("another track of its video says left, too: both follow the same person",)
    assert {name: track.warnings for name, track in tracks.items()} == {
        "anna_left": warning,
        "ben_left": warning,
        "c_left": (),
        "d_left": (),
    }


def test_equal_stems_are_told_apart_by_their_tracks(root):
    tracks = opened(root, "video,track", "s1/cam.mp4,", "s2/cam.mp4,s2_left", "s2/cam.mp4,s2_right")
    assert {name: track.video for name, track in tracks.items()} == {"cam": "cam", "s2_left": "s2", "s2_right": "s2"}


@pytest.mark.parametrize(
    ("tracks", "stem", "name"),
    [
        (["cam"], "cam", "cam"),
        (["p1"], "cam", "p1"),
        (["cam_left"], "cam", "cam"),
        (["p1_left"], "cam", "p1_left"),
        (["cam_left"], "cam_left", "cam_left"),
        (["p1_right", "p1_left"], "cam", "p1"),
        (["cam_left", "cam_left_right"], "cam_left", "cam_left"),
        (["zoe", "ann"], "cam", "ann"),
        (["_left", "_right"], "cam", "_left"),
        (["a _left", "b"], "cam", "a _left"),
    ],
)
def test_names_of_videos(tracks, stem, name):
    assert video_name(tracks, stem) == name


NAMES = st.sampled_from(["a", "b", "cam", "a_left", "a_right", "cam_left", "cam_right", "x", "X_left", "x_right"])
PLANS = st.lists(
    st.tuples(st.sampled_from(FILES), NAMES), min_size=1, max_size=7, unique_by=lambda row: row[1].casefold()
)


@given(plan=PLANS)
def test_a_video_says_nothing_of_the_tracks_of_others(root_of_properties, plan):
    def found(rows):
        put(root_of_properties / "manifest.csv", "video,track", *map(",".join, rows))
        return {track.track: track for track in open_corpus(PARAMS, root_of_properties).tracks}

    alone = {}
    for file in {file for file, _ in plan}:
        alone |= found([row for row in plan if row[0] == file])
    files = {file: alone[name].video.casefold() for file, name in plan}
    if len(set(files.values())) == len(files):
        assert found(plan) == found(plan[::-1]) == alone
    else:
        with pytest.raises(BadInputError, match="of two files, which would both be called"):
            found(plan)


def test_a_video_that_is_added_changes_nothing_of_the_others(root):
    rows = ["video,track", "s1/cam.mp4,cam_left", "s1/cam.mp4,cam_right", "videos/a.mp4,first"]
    before = opened(root, *rows)
    assert {name: (track.video, track.side) for name, track in before.items()} == {
        "cam_left": ("cam", "left"), "cam_right": ("cam", "right"), "first": ("first", ""),
    }  # fmt: skip
    (root / "s2" / "a.mp4").write_text("another")
    after = opened(root, *rows, "s2/cam.mp4,second", "s2/a.mp4,third")
    assert {name: after[name] for name in before} == before
    with pytest.raises(BadInputError) as error:
        opened(root, *rows, "s2/cam.mp4,")
    assert str(error.value) == (
        f"{root}/manifest.csv, line 5: column track: 'cam' and 'cam_left', 'cam_right' (line 2) are of two files, "
        "which would both be called 'cam': rename one of these tracks"
    )


def test_sides_are_said_by_the_tracks_endings_but_not_by_the_name_of_the_file(root):
    (root / "videos" / "c_left.mp4").write_text("c")
    lines = ["videos/b.mov,anna_left", "videos/a.mp4,ben_right", "videos/a.mp4,anna", "videos/c_left.mp4,"]
    tracks = opened(root, "video,track", *lines, "s1/cam.mp4,_left")
    sides = {name: track.side for name, track in tracks.items()}
    assert sides == {"anna_left": "left", "ben_right": "right", "anna": "", "c_left": "", "_left": ""}
