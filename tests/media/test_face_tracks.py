import numpy as np
import pytest
from skimage import data

from avfusion.media.association import FaceTrack
from avfusion.media.face_tracks import doubts, face_crops, interpolate_faces, others_than
from avfusion.media.faces import Face
from avfusion.media.persons import Followed


def _face(x, confidence=1.0):
    box = np.array([x, 0, x + 100, 100], np.float32)
    return Face(box, confidence, np.full((5, 2), x, np.float32))


def test_interpolation_between_detections_but_not_over_gaps():
    track = FaceTrack([2, 4, 10], faces=[_face(0), _face(20, confidence=0.9), _face(50)])
    course = interpolate_faces([track], 12, longest_gap=4)
    np.testing.assert_allclose(course.confidence, [0, 0, 1, 0.95, 0.9, 0, 0, 0, 0, 0, 1, 0])
    np.testing.assert_allclose(course.landmarks[[2, 3, 4, 10], 0, 0], [0, 10, 20, 50])
    np.testing.assert_allclose(course.boxes[[2, 3, 10]], [[0, 0, 100, 100], [10, 0, 110, 100], [50, 0, 150, 100]])
    assert interpolate_faces([], 3, longest_gap=4).confidence.tolist() == [0, 0, 0]


def test_nothing_is_interpolated_from_one_stretch_to_the_next():
    stretches = [FaceTrack([0, 2], faces=[_face(0)] * 2), FaceTrack([4, 6], faces=[_face(300)] * 2)]
    course = interpolate_faces(stretches, 8, longest_gap=4)
    np.testing.assert_array_equal(course.confidence, [1, 1, 1, 0, 1, 1, 1, 0])
    np.testing.assert_array_equal(course.landmarks[:, 0, 0], [0, 0, 0, 0, 300, 300, 300, 0])


@pytest.fixture(scope="module")
def face_pictures():
    """The astronaut moving right by 2 pixels a frame; hidden from frame 20 (0-based) to 39."""
    picture = data.astronaut()[:256, 96:384]
    pictures = [np.ascontiguousarray(np.roll(picture, 2 * index, axis=1)[:, 32:]) for index in range(60)]
    for index in range(20, 40):
        pictures[index][:] = 90
    return pictures


def test_crops_follow_the_face_and_gaps_stay_empty(tmp_path, media, face_pictures):
    path = media(tmp_path / "moving.mp4", face_pictures, np.arange(60) / 25)
    crops = list(face_crops(path, detect_every=4))
    assert [crop.frame for crop in crops] == list(range(1, 61))
    np.testing.assert_allclose([crop.time_s for crop in crops], np.arange(60) / 25, atol=1e-6)
    present = np.array([crop.rgb is not None for crop in crops])
    np.testing.assert_array_equal(present, [crop.confidence > 0 for crop in crops])
    assert present[:17].all()
    assert not present[20:40].any()
    assert present[40:].all()
    first = crops[0].rgb.astype(int)
    for index in (2, 7, 14, 45, 59):  # the crop stands still while the face moves by up to 118 pixels
        assert np.abs(crops[index].rgb.astype(int) - first)[20:100, 20:90].mean() < 14


def test_the_wanted_side_of_two_persons(tmp_path, media, face_pictures):
    one = face_pictures[0]
    other = np.ascontiguousarray(one[:, ::-1]) // 2
    path = media(tmp_path / "two.mp4", [np.concatenate([one, other], axis=1)] * 6, np.arange(6) / 25)
    brightness = {side: next(face_crops(path, side=side)).rgb.mean() for side in ("left", "right")}
    assert brightness["left"] > 1.6 * brightness["right"]


def test_after_a_hard_cut_the_face_is_followed_elsewhere(tmp_path, media):
    picture = data.astronaut()[:256, 96:352]
    empty = np.full_like(picture, 90)
    left, right = (np.concatenate(pair, axis=1) for pair in ((picture, empty), (empty, picture)))
    path = media(tmp_path / "cut.mp4", [left] * 14 + [right] * 10, np.arange(24) / 25)
    warnings = []
    crops = list(face_crops(path, detect_every=2, on_warning=warnings.append))
    assert [crop.frame for crop in crops if crop.rgb is None] == [14], "between the last detection and the cut"
    assert np.abs(crops[0].rgb.astype(int) - crops[20].rgb)[20:100, 20:90].mean() < 14
    assert warnings == ["track cut once (the picture changes as a whole), at 0.6 s"]


def test_detections_of_others_are_counted_unless_a_side_is_wanted(tmp_path, media):
    picture = data.astronaut()[:256, 96:352]
    both, one = (np.concatenate([picture, other], axis=1) for other in (picture[:, ::-1], np.full_like(picture, 90)))
    path = media(tmp_path / "guest.mp4", [both] * 5 + [one] * 15, np.arange(20) / 25)
    for side, expected in ((None, 1), ("left", 0)):
        warnings = []
        list(face_crops(path, detect_every=1, side=side, on_warning=warnings.append))
        assert len(warnings) == expected
        assert all("20 % of the face detections are of others" in text for text in warnings)


def test_a_video_without_a_face(plain_video):
    crops = list(face_crops(plain_video))
    assert len(crops) == 50
    assert all(crop.rgb is None and crop.confidence == 0 for crop in crops)


def test_of_whom_looks_do_not_tell_that_it_is_the_same_is_said(tmp_path, media):
    """A cut to somebody in another place: a face of other colours, mirrored."""
    picture = data.astronaut()[:256, 96:352]
    empty = np.full_like(picture, 90)
    stranger = np.ascontiguousarray(picture[:, ::-1, ::-1])
    one, other = (np.concatenate(pair, axis=1) for pair in ((picture, empty), (empty, stranger)))
    path = media(tmp_path / "strangers.mp4", [one] * 20 + [other] * 10, np.arange(30) / 25)
    warnings = []
    crops = list(face_crops(path, detect_every=2, on_warning=warnings.append))
    assert all(crop.rgb is not None for crop in crops[20:]), "whoever is seen is followed"
    assert warnings == [
        "track cut once (the picture changes as a whole), at 0.8 s",
        "the person followed may be somebody else after the cut at 0.8 s: looks do not tell",
    ]


def test_cuts_to_others_are_told_and_others_are_not_followed(tmp_path, media):
    """Cuts from somebody in one place to somebody else in another, and back again."""
    picture = data.astronaut()[:256, 96:352]
    empty = np.full_like(picture, 90)
    stranger = np.ascontiguousarray(picture[:, ::-1, ::-1])
    one, other = (np.concatenate(pair, axis=1) for pair in ((picture, empty), (empty, stranger)))
    path = media(tmp_path / "cuts.mp4", ([one] * 40 + [other] * 30) * 2, np.arange(140) / 25)
    warnings = []
    crops = list(face_crops(path, detect_every=2, on_warning=warnings.append))
    present = np.array([crop.rgb is not None for crop in crops])
    np.testing.assert_array_equal(np.flatnonzero(~present), [39, *range(40, 70), 109, *range(110, 140)])
    assert warnings == ["probably several people after the cuts at 1.6 s, 4.4 s"]


def test_who_begins_at_a_cut_is_told_by_frames_not_by_times():
    main, after = FaceTrack([0, 5, 10], [0.0, 0.2, 0.4]), FaceTrack([15, 20], [15 / 25, 0.8])
    main.close("scene", 15, 0.1 + 0.2 + 0.3)
    assert main.end_s != after.times_s[0]
    assert others_than(Followed([main]), [main, after], "look") == [
        "probably several people after the cut at 0.6 s: look"
    ]
    beside = FaceTrack([5, 10], [0.2, 0.4])
    both = others_than(Followed([main]), [main, after, beside])
    assert both[0].startswith("several faces at the same time: 29 % ")
    assert both[1:] == ["probably several people after the cut at 0.6 s"]
    later = FaceTrack([20, 25], [0.8, 1.0])
    assert others_than(Followed([main]), [main, later])[0].startswith("several faces one after the other: 40 % ")


def test_of_several_persons_it_is_said_whose_track_is_cut_and_who_is_doubtful():
    before, after, later = (FaceTrack([start, start + 5], [start / 25, start / 25 + 0.2]) for start in (0, 10, 30))
    before.close("scene", 10, 0.4)
    tracks = [before, after, later]
    cut = "track cut once (the picture changes as a whole), at 0.4 s"
    assert doubts([Followed(tracks, [after])], tracks) == [
        cut,
        "the person followed may be somebody else after the cut at 0.4 s: looks do not tell",
    ]
    assert doubts([Followed(), Followed(tracks, [after, later])], tracks) == [
        cut.replace("track", "track of person 2", 1),
        "person 2 may be somebody else from 0.4, 1.2 s on: looks do not tell",
    ]


def test_a_cut_from_one_face_to_another_in_the_same_place_ends_the_track(tmp_path, media):
    picture = data.astronaut()[:256, 96:352]
    stranger = np.ascontiguousarray(picture[:, ::-1, ::-1])
    path = media(tmp_path / "place.mp4", [picture] * 13 + [stranger] * 8, np.arange(21) / 25)
    crops = list(face_crops(path, detect_every=4))
    missing = [crop.frame for crop in crops if crop.rgb is None]
    assert missing == [14, 15, 16], "nothing is interpolated from one to the other"
