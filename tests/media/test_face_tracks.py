import numpy as np
import pytest
from skimage import data

from avfusion.media.face_tracks import FaceTrack, associate, face_crops, interpolate_faces, main_person
from avfusion.media.faces import Face


def _face(x, side=100.0, y=0.0, confidence=1.0):
    box = np.array([x, y, x + side, y + side], np.float32)
    return Face(box, confidence, np.full((5, 2), x, np.float32))


def test_persons_are_not_swapped_when_the_order_of_detections_changes():
    tracks = associate([], 0, [_face(0), _face(300)])
    assert associate(tracks, 1, [_face(310), _face(10)]) == []
    assert [[face.box[0] for face in track.faces] for track in tracks] == [[0, 10], [300, 310]]


def test_a_face_elsewhere_is_another_person():
    tracks = associate([], 0, [_face(0)])
    new = associate(tracks, 1, [_face(200)])
    assert len(new) == 1
    assert tracks[0].indices == [0]


def test_one_face_between_two_persons_goes_to_the_nearer_one_only():
    tracks = associate([], 0, [_face(0), _face(60)])
    assert associate(tracks, 1, [_face(45)]) == []
    assert [track.indices for track in tracks] == [[0], [0, 1]]


def test_someone_lost_from_sight_may_have_moved_on_but_not_far():
    for moved, same in ((80, True), (130, False)):
        tracks = associate([], 0, [_face(0)])
        associate(tracks, 20, [_face(moved)], step=5)
        assert (tracks[0].indices == [0, 20]) is same


def _track(start, stop, x=0.0, side=100.0):
    return FaceTrack(list(range(start, stop)), [_face(x, side)] * (stop - start))


def test_main_person_is_large_and_persistent():
    brief_large, long_small = _track(0, 1, side=150), _track(0, 4, x=300)
    assert main_person([brief_large, long_small]) == [long_small]
    assert main_person([brief_large, long_small], "left") == [brief_large]
    assert main_person([brief_large, long_small], "right") == [long_small]
    assert main_person([]) == main_person([], "left") == []


def test_stretches_are_chained_by_weight_where_they_do_not_overlap():
    heaviest, before, across, behind = _track(10, 20), _track(0, 9), _track(5, 12, side=90), _track(20, 22, x=300)
    assert main_person([behind, across, before, heaviest]) == [before, heaviest, behind]
    large = _track(5, 10, side=150)
    assert main_person([behind, large, before, heaviest]) == [large, heaviest, behind], "the heavier one comes first"
    touching = _track(19, 24, side=90)
    assert main_person([touching, heaviest]) == [heaviest], "the same moment, though only one"
    assert main_person([heaviest, _track(0, 9, x=300), behind], "left") == [heaviest], "sides are not chained"


def test_interpolation_between_detections_but_not_over_gaps():
    track = FaceTrack([2, 4, 10], [_face(0), _face(20, confidence=0.9), _face(50)])
    landmarks, confidence = interpolate_faces([track], 12, longest_gap=4)
    np.testing.assert_allclose(confidence, [0, 0, 1, 0.95, 0.9, 0, 0, 0, 0, 0, 1, 0])
    np.testing.assert_allclose(landmarks[[2, 3, 4, 10], 0, 0], [0, 10, 20, 50])
    assert interpolate_faces([], 3, longest_gap=4)[1].tolist() == [0, 0, 0]


def test_nothing_is_interpolated_from_one_stretch_to_the_next():
    stretches = [FaceTrack([0, 2], [_face(0)] * 2), FaceTrack([4, 6], [_face(300)] * 2)]
    landmarks, confidence = interpolate_faces(stretches, 8, longest_gap=4)
    np.testing.assert_array_equal(confidence, [1, 1, 1, 0, 1, 1, 1, 0])
    np.testing.assert_array_equal(landmarks[:, 0, 0], [0, 0, 0, 0, 300, 300, 300, 0])


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
    assert warnings == []


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
