import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avfusion.media.association import LOST_AFTER_S, FaceTracker, SeenFace
from avfusion.media.faces import Face

ANNA, BEN = np.array([0.0, 0.0], np.float32), np.array([1.0, 0.0], np.float32)
TWIN = np.array([0.05, 0.0], np.float32)  # of Anna
SISTER = np.array([0.6, 0.0], np.float32)  # not unlike Anna, but to be told from her
BETWEEN = np.array([0.4, 0.0], np.float32)
STRANGE = np.array([0.5, 2.0], np.float32)
STEP, STEP_S = 5, 0.2


def _seen(x, look=ANNA, y=0.0, side=100.0):
    box = np.array([x, y, x + side, y + side], np.float32)
    return SeenFace(Face(box, 1.0, np.zeros((5, 2), np.float32)), look)


def _follow(*frames, new_scene_at=None):
    """The tracks of a video, each as its frames' x positions by number of detection step."""
    tracker = FaceTracker(STEP)
    for number, faces in enumerate(frames):
        tracker.update(number * STEP, number * STEP_S, faces, number == new_scene_at)
    return tracker.tracks


def _places(tracks):
    return [
        {index // STEP: round(float(face.box[0])) for index, face in zip(track.indices, track.faces, strict=True)}
        for track in tracks
    ]


def test_the_order_of_detections_does_not_matter():
    tracks = _follow([_seen(0), _seen(300, TWIN)], [_seen(310, TWIN), _seen(10)], [_seen(20), _seen(320, TWIN)])
    assert _places(tracks) == [{0: 0, 1: 10, 2: 20}, {0: 300, 1: 310, 2: 320}]
    assert [track.end for track in tracks] == ["", ""]


def test_a_face_elsewhere_is_another_person():
    assert _places(_follow([_seen(0)], [_seen(250)])) == [{0: 0}, {1: 250}]
    assert _places(_follow([_seen(0)], [_seen(70)])) == [{0: 0, 1: 70}], "beside, but it looks the same"
    assert _places(_follow([_seen(0)], [_seen(70, BEN)])) == [{0: 0}, {1: 70}]


def test_someone_alone_is_followed_whatever_they_look_like():
    tracks = _follow([_seen(0)], [_seen(10, BEN)], [], [_seen(20, STRANGE)])
    assert _places(tracks) == [{0: 0, 1: 10, 3: 20}]


def test_looks_tell_who_is_who_where_places_do_not():
    together = [_seen(0), _seen(60, BEN)], [_seen(30, BEN), _seen(40)]
    assert _places(_follow(*together)) == [{0: 0, 1: 40}, {0: 60, 1: 30}]
    approach = [_seen(0), _seen(150, SISTER)], [_seen(30), _seen(110, SISTER)]
    assert _places(_follow(*approach, [_seen(60, SISTER), _seen(70)])) == [
        {0: 0, 1: 30, 2: 70},
        {0: 150, 1: 110, 2: 60},
    ]


def test_two_alike_who_meet_are_cut():
    tracks = _follow([_seen(0), _seen(60, TWIN)], [_seen(30, TWIN), _seen(40)], [_seen(0), _seen(70, TWIN)])
    assert [len(track.indices) for track in tracks if 0 in track.indices] == [1, 1]
    assert [track.end for track in tracks[:2]] == ["unclear", "unclear"]
    assert [track.end_s for track in tracks[:2]] == [STEP_S, STEP_S]


def test_movement_tells_who_is_who_among_two_alike():
    """They pass one another a face apart: from the last places alone, an exchange would be as good."""
    left = [_seen(40 * n, ANNA) for n in range(6)]
    right = [_seen(200 - 40 * n, TWIN, y=105) for n in range(6)]
    tracks = _follow(*([a, b] for a, b in zip(left, right, strict=True)))
    assert [set(place.values()) for place in _places(tracks)] == [{0, 40, 80, 120, 160, 200}] * 2
    assert [track.faces[3].box[1] for track in tracks] == [0, 105]


def test_who_might_have_turned_back_is_not_taken_for_having_gone_on():
    approach = [[_seen(30 * n), _seen(170 - 30 * n, TWIN)] for n in range(3)]
    for place in (50, 60):  # gone on, they would be at 90 and 80; stopped, at 60 and 110
        tracks = _follow(*approach, [_seen(place + 20), _seen(place + 50, TWIN)])
        assert all(track.indices[-1] < 15 for track in tracks[:2])


def test_one_face_where_two_people_were_is_somebodys_only_if_it_looks_so():
    two = [_seen(0), _seen(60, BEN)]
    assert _places(_follow(two, [_seen(30)], [_seen(20)])) == [{0: 0, 1: 30, 2: 20}, {0: 60}]
    for look in (BETWEEN, STRANGE):
        tracks = _follow(two, [_seen(30, look)], [_seen(20, look)])
        assert [track.indices for track in tracks[:2]] == [[0], [0]]


def test_who_was_hidden_goes_on_if_nobody_else_looks_like_them():
    hidden = [_seen(0), _seen(60, BEN)], [_seen(30)], [_seen(35)], [_seen(40)]
    assert _places(_follow(*hidden, [_seen(45), _seen(110, BEN)]))[1] == {0: 60, 4: 110}
    tracks = _follow(*hidden, [_seen(45), _seen(110, BETWEEN)])
    assert _places(tracks)[1] == {0: 60}
    assert tracks[1].end == "replaced", "it may be Ben, so Ben cannot be somebody else later"


def test_a_hidden_twin_ends_the_track_until_both_are_seen():
    tracks = _follow(
        *[[_seen(0), _seen(150, TWIN)]] * 3,
        *[[_seen(60)], [_seen(65)], [_seen(70)]],
        *[[_seen(0), _seen(150, TWIN)]] * 4,
    )
    assert all(len(t.indices) == 1 for t in tracks if 15 <= t.indices[0] <= 25)
    assert [len(t.indices) for t in tracks if t.indices[-1] == 45] == [4, 4]


def test_someone_lost_is_taken_up_again_by_place_and_look_but_not_far_and_not_later():
    for x, look, away, same in (
        (80, ANNA, 4, True),
        (130, ANNA, 4, False),
        (80, BEN, 4, False),
        (80, ANNA, round(LOST_AFTER_S / STEP_S) + 1, False),
    ):
        tracks = _follow([_seen(0)], *[[]] * (away - 1), [_seen(x, look)])
        assert (len(tracks) == 1) is same, (x, look, away)


def test_a_new_scene_ends_whom_looks_do_not_clearly_tell_to_be_the_same():
    assert len(_follow([_seen(0)], [_seen(0)], [_seen(0, BETWEEN)])) == 1
    assert len(_follow([_seen(0)], [_seen(0)], [_seen(0, BETWEEN)], new_scene_at=2)) == 2


def test_a_new_scene_ends_what_does_not_look_and_lie_like_before():
    for x, look, same in ((0, ANNA, True), (0, BEN, False), (60, ANNA, False)):
        tracks = _follow([_seen(0)], [_seen(0)], [_seen(x, look)], new_scene_at=2)
        assert (len(tracks) == 1) is same
        if not same:
            assert (tracks[0].end, tracks[0].end_s) == ("scene", 2 * STEP_S)
    tracks = _follow([_seen(0), _seen(300, TWIN)], [_seen(0), _seen(300, TWIN)], new_scene_at=1)
    assert len(tracks) == 4, "two alike may have changed places"


def test_a_second_box_on_a_face_is_nobody():
    tracks = _follow([_seen(0), _seen(30, STRANGE)], [_seen(0), _seen(30, STRANGE, y=10)], [_seen(5)])
    assert _places(tracks) == [{0: 0, 1: 0, 2: 5}]


def test_looks_of_mixed_faces_count_little():
    frames = [[_seen(0, BETWEEN if x < 90 else ANNA), _seen(x, BEN)] for x in (110, 95, 80, 80)]
    anna, ben = _follow(*frames)
    assert [anna.clear_looks, ben.clear_looks] == pytest.approx([2.2, 2.2])
    assert anna.look[0] == pytest.approx((2 * 0 + 0.2 * 0.4) / 2.2)


@settings(max_examples=60)
@given(st.lists(st.lists(st.tuples(st.integers(0, 6), st.sampled_from("AB")), max_size=4), min_size=1, max_size=12))
def test_every_detection_is_in_one_track_at_most_and_tracks_go_forward(frames):
    looks = {"A": ANNA, "B": BEN}
    faces = [[_seen(40 * place, looks[who]) for place, who in frame] for frame in frames]
    tracks = _follow(*faces)
    used = [id(face) for track in tracks for face in track.faces]
    assert len(used) == len(set(used))
    for track in tracks:
        assert track.indices
        assert (np.diff(track.indices) > 0).all()
        assert len(track.indices) == len(track.times_s) == len(track.faces)
        assert not track.end or track.end_s > track.times_s[-1]
    if all(len({place for place, _ in frame}) == len(frame) == 1 for frame in frames):
        assert len(used) == len(frames), "a face alone is never left out"
