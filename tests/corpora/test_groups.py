"""Groups of tracks that are not independent: parts of an original, persons and sessions of own data."""

from pathlib import Path

import pytest

from avfusion.corpora.affwild2 import group_parts
from avfusion.corpora.groups import describe_groups, join_by_video
from avfusion.corpora.layout import RawTrack, split_side
from avfusion.runtime.errors import BadInputError
from tests.corpora.own_files import opened

PARTS = Path(__file__).parents[1] / "data" / "affwild2_parts.txt"


def raw(track: str, split: str = "train") -> RawTrack:
    video, side = split_side(track)
    return RawTrack(track, video, split, f"videos/{video}.mp4", side=side)


def groups(*names: str) -> dict[str, str]:
    return {track.track: track.group for track in group_parts([raw(name) for name in names])}


def test_parts_of_an_original_of_aff_wild2_are_one_group() -> None:
    lines = [line.split() for line in PARTS.read_text().splitlines() if line[:1] != "#"]
    names = [name for parts in lines for name in parts]
    found = groups(*names)
    for parts in lines:
        assert len({found[name] for name in parts}) == (1 if len(parts) > 1 else len(parts))
    assert len(set(found.values())) == len(lines)


@pytest.mark.parametrize(
    "names",
    [
        ("5-60-1920x1080-1", "5-60-1920x1080"),  # a whole video beside a part
        ("5-60-1920x1080-1", "5-30-1920x1080-2"),
        ("5-60-1920x1080-1", "15-60-1920x1080-2"),
        ("5-60-1920x1080-1", "5-60-1280x720-2"),
        ("5-60-1920x1080", "6-60-1920x1080"),
        ("video8", "video86_1", "video87_1"),
        ("118", "118-30-640x480", "video118"),
        ("clip-1", "clip-2"),
        ("24-1", "24-2"),
    ],
)
def test_other_names_are_groups_of_their_own(names: tuple[str, ...]) -> None:
    assert groups(*names) == dict(zip(names, names, strict=True))


def test_both_sides_of_a_part_are_of_its_original() -> None:
    assert set(groups("video10_1_left", "video10_1_right", "video10_2").values()) == {"video10_*"}
    assert set(groups("video10_1_left", "video10_1_right").values()) == {"video10_1"}


def test_a_group_across_splits_is_a_warning_on_its_tracks_and_told_by_name() -> None:
    tracks = [raw("5-60-1920x1080-1"), raw("5-60-1920x1080-2", "val"), raw("a"), raw("a_left")]
    several, crossing = describe_groups(group_parts(tracks))
    assert several == "2 groups of 3 videos: 5-60-1920x1080-* (2)"
    assert crossing.startswith("1 group in several splits: 5-60-1920x1080-* (train, val): scores of such a split are")
    assert describe_groups(tracks) == ("", "")


def test_a_manifests_groups(root: Path) -> None:
    rows = ["video,split,group", "videos/a.mp4,train,anna", "videos/b.mov,val, anna ", "s1/cam.mp4,test,"]
    tracks = opened(root, *rows)
    assert {name: track.group for name, track in tracks.items()} == {"a": "anna", "b": "anna", "cam": "cam"}
    for name in "ab":
        assert "its group 'anna' is in several splits (train, val)" in tracks[name].warnings
    assert tracks["cam"].warnings == ()


def test_people_who_share_a_video_share_a_group_with_all_their_videos(root: Path) -> None:
    rows = ["videos/a.mp4,ben,ben", "s1/cam.mp4,pair_left,anna", "s1/cam.mp4,pair_right,ben", "videos/b.mov,anna,anna"]
    tracks = opened(root, "video,track,group", *rows, "s2/cam.mp4,carl,carl")
    found = {name: track.group for name, track in tracks.items()}
    assert found == dict.fromkeys(("ben", "pair_left", "pair_right", "anna"), "anna + ben") | {"carl": "carl"}


def test_groups_are_joined_in_any_order() -> None:
    rows = [("a", "x"), ("b", "x"), ("c", "y"), ("d", "y"), ("b", "y"), ("e", "z")]
    for order in (rows, rows[::-1], rows[3:] + rows[:3]):
        tracks = [RawTrack(f"{group}{video}", video, "", "", group=group) for group, video in order]
        assert {track.group for track in join_by_video(tracks) if track.video in "xy"} == {"a + b + c + d"}


def test_a_blank_group_whose_video_is_called_like_a_group_is_refused(root: Path) -> None:
    why = r"line 3: column group: blank, and the video is called 'a', like a group of other rows: write the group"
    with pytest.raises(BadInputError, match=why):
        opened(root, "video,group", "videos/b.mov,a", "videos/a.mp4,")
    opened(root, "video,group", "videos/b.mov,a", "videos/a.mp4,a")
