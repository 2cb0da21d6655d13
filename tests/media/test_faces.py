import cv2
import numpy as np
import pytest
from skimage import data

from avfusion.media.boxes import overlaps, regressed, squared, suppress_doubles
from avfusion.media.faces import FaceDetector


@pytest.fixture(scope="module")
def detector():
    return FaceDetector()


@pytest.fixture(scope="module")
def astronaut():
    return data.astronaut()


# Read off the picture by eye: pupils, tip of the nose, mouth corners.
EXPECTED = np.array([[203, 103], [247, 103], [225, 127], [203, 139], [244, 140]])


def test_finds_the_astronaut_with_plausible_landmarks(detector, astronaut):
    faces = detector.detect(astronaut)
    assert len(faces) == 1
    face = faces[0]
    assert face.confidence > 0.99
    x1, y1, x2, y2 = face.box
    assert 165 < x1 < 195
    assert 50 < y1 < 85
    assert 255 < x2 < 285
    assert 165 < y2 < 190
    np.testing.assert_allclose(face.landmarks, EXPECTED, atol=4)


def test_landmarks_of_the_mirror_image_are_mirrored(detector, astronaut):
    face = detector.detect(astronaut)[0]
    mirrored = detector.detect(np.ascontiguousarray(astronaut[:, ::-1]))[0].landmarks[[1, 0, 2, 4, 3]]
    mirrored[:, 0] = astronaut.shape[1] - 1 - mirrored[:, 0]
    assert abs((face.landmarks - mirrored).mean(axis=0)[0]) < 1.0


def test_equal_images_give_equal_faces_whatever_came_before(detector, astronaut):
    first = detector.detect(astronaut)[0]
    detector.detect(np.ascontiguousarray(astronaut[:200, :333]))
    again = FaceDetector().detect(astronaut)[0]
    later = detector.detect(astronaut)[0]
    for face in (again, later):
        np.testing.assert_array_equal(face.box, first.box)
        np.testing.assert_array_equal(face.landmarks, first.landmarks)


def test_large_images_are_scaled_and_give_positions_in_their_own_pixels(detector, astronaut):
    large = np.repeat(np.repeat(astronaut, 3, axis=0), 3, axis=1)
    face = detector.detect(large)[0]
    np.testing.assert_allclose(face.landmarks, (EXPECTED + 0.5) * 3 - 0.5, atol=12)


@pytest.mark.parametrize(
    ("size", "face", "min_face"),
    [
        ((1920, 1080), 49, 16),
        ((1080, 1920), 49, 16),
        ((3840, 2160), 110, 18),
        ((640, 480), 22, 20),
        ((320, 240), 20, 16),
    ],
)
def test_small_faces_are_found_when_looked_for(detector, astronaut, size, face, min_face):
    """The face is 95 pixels wide in the picture of 512."""
    width, height = size
    side = round(512 * face / 95)
    canvas = np.full((height, width, 3), 110, np.uint8)
    canvas[20 : 20 + side, 50 : 50 + side] = cv2.resize(astronaut, (side, side), interpolation=cv2.INTER_AREA)
    assert detector.detect(canvas) == []
    (found,) = FaceDetector(min_face).detect(canvas)
    np.testing.assert_allclose(found.landmarks, (EXPECTED + 0.5) * face / 95 + (49.5, 19.5), atol=0.06 * face)


def test_only_large_faces_are_found_when_looked_for(astronaut):
    assert len(FaceDetector(90).detect(astronaut)) == 1
    assert FaceDetector(200).detect(astronaut) == []


def test_two_faces_and_none(detector, astronaut):
    both = np.concatenate([astronaut, astronaut[:, ::-1]], axis=1)
    assert len(detector.detect(both)) == 2
    assert detector.detect(np.random.default_rng(0).integers(0, 255, (256, 256, 3), dtype=np.uint8)) == []
    assert detector.detect(np.zeros((30, 30, 3), np.uint8)) == []


@pytest.mark.parametrize("shape", [(2, 4000, 3), (4000, 2, 3)])
def test_a_strip_of_a_few_pixels_has_no_face(detector, shape):
    assert detector.detect(np.zeros(shape, np.uint8)) == []


def test_too_small_a_face_size_is_refused():
    with pytest.raises(ValueError, match="12 pixels"):
        FaceDetector(min_face=8)


def test_overlaps():
    box = np.array([0.0, 0, 10, 10])
    others = np.array([[0.0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [2, 2, 4, 4]])
    np.testing.assert_allclose(overlaps(box, others), [1, 1 / 3, 0, 0.04])
    np.testing.assert_allclose(overlaps(box, others, over="smaller"), [1, 0.5, 0, 1])


def test_suppression_keeps_the_best_of_each_group():
    boxes = np.array([[0.0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60], [51, 50, 61, 60]])
    assert suppress_doubles(boxes, np.array([0.8, 0.9, 0.7, 0.6]), 0.5).tolist() == [1, 2]
    assert suppress_doubles(boxes, np.array([0.8, 0.8, 0.7, 0.7]), 0.5).tolist() == [0, 2]
    assert suppress_doubles(boxes[:0], np.array([]), 0.5).tolist() == []


def test_squares_and_regression():
    np.testing.assert_allclose(squared(np.array([[0.0, 0, 10, 20]])), [[-5, 0, 15, 20]])
    np.testing.assert_allclose(
        regressed(np.array([[10.0, 10, 20, 30]]), np.array([[0.1, -0.1, 0.0, 0.5]])), [[11, 8, 20, 40]]
    )
