import cv2
import numpy as np
import pytest
from skimage import data

from avfusion.corpora.demo.features import Expression
from avfusion.corpora.demo.identity import draw_identity
from avfusion.corpora.demo.scene import Sitter
from avfusion.media.alignment import align_face
from avfusion.media.face_descriptor import describe_face, distance, nearer_by, steady_look


def _crops(seed, poses=6):
    """A rendered person in several poses, expressions and positions, with noise and landmarks that are a bit off."""
    rng = np.random.default_rng(seed)
    person = Sitter(draw_identity(rng), tuple(rng.uniform(-1, 1, 2)))
    crops = []
    for _ in range(poses):
        smile, tilt, height, eyes, yaw, pitch, turn = rng.uniform(-1, 1, 7)
        face = Expression(smile, tilt, height, eyes, max(0, tilt), 1.0, (0, 0), 0.25 * yaw, 0.12 * pitch)
        picture = np.full((200, 200, 3), 140, np.uint8)
        matrix = 0.6 * cv2.getRotationMatrix2D((112, 128), 8 * turn, 1) + [[0, 0, rng.uniform(0, 9)], [0, 0, 9]]
        landmarks = person.paint(picture, face, matrix) + rng.normal(0, 0.7, (5, 2))
        noisy = np.clip(picture * rng.uniform(0.9, 1.1) + rng.normal(0, 2, picture.shape), 0, 255).astype(np.uint8)
        crops.append(align_face(noisy[:, :, ::-1].copy(), landmarks))
    return crops


@pytest.fixture(scope="module")
def looks():
    return np.array([[describe_face(crop) for crop in _crops(seed)] for seed in range(20)])


def test_the_look_tells_people_apart(looks):
    """Each face against its person's other faces and each other person's: whose is it?"""
    right, decided, wrong, total = 0, 0, 0, 0
    for who, faces in enumerate(looks):
        for pose, look in enumerate(faces):
            own = np.delete(faces, pose, axis=0).mean(axis=0)
            for other in np.delete(looks, who, axis=0).mean(axis=1):
                right += distance(look, own) < distance(look, other)
                clearly = nearer_by(look, own, other)
                decided, wrong, total = decided + (clearly > 0.5), wrong + (clearly < -0.5), total + 1
    assert right / total > 0.94, "0.5 is chance"
    assert decided / total > 0.6
    assert wrong == 0


def test_light_does_not_change_it():
    crop = cv2.resize(data.astronaut()[:224, 112:336], (112, 112), interpolation=cv2.INTER_AREA)
    look = describe_face(crop)
    assert look.shape == (224,)
    for alpha, beta, most in ((0.8, 0, 0.02), (1.0, 15, 0.02), (0.7, 20, 0.05)):
        assert distance(look, describe_face(cv2.convertScaleAbs(crop, alpha=alpha, beta=beta))) < most
    assert distance(look, describe_face(crop[:, ::-1])) > 0.3


def test_a_steady_look_is_the_same_from_the_other_side():
    crop = cv2.resize(data.astronaut()[:224, 112:336], (112, 112), interpolation=cv2.INTER_AREA)
    looks = np.stack([describe_face(crop), describe_face(crop[:, ::-1]), describe_face(crop[:, :, ::-1])])
    steady = steady_look(looks)
    assert steady.shape == (3, 224)
    assert distance(steady[0], steady[1]) < 0.01
    assert distance(steady[0], steady[2]) > 1, "colours are not the same"
    np.testing.assert_allclose(steady_look(looks.mean(axis=0)), steady.mean(axis=0), atol=1e-6)


def test_as_steady_looks_one_person_is_nearer_to_themselves_and_as_far_from_others(looks):
    def medians(found):
        one, other = found[:, :3].mean(axis=1), found[:, 3:].mean(axis=1)
        apart = distance(one[:, None], other)
        return np.median(np.diag(apart)), np.median(apart[~np.eye(len(apart), dtype=bool)])

    (own, others), (steady_own, steady_others) = medians(looks), medians(steady_look(looks))
    assert steady_own < 0.6 * own
    assert steady_others > 0.9 * others


def test_a_plain_crop_has_a_look_too():
    assert np.isfinite(describe_face(np.zeros((112, 112, 3), np.uint8))).all()
    assert np.isfinite(describe_face(np.full((112, 112, 3), 255, np.uint8))).all()


def test_nearer_by():
    one, other = np.zeros(3), np.array([1.0, 0, 0])
    assert nearer_by(one, one, other) == 1
    assert nearer_by(other, one, other) == -1
    assert nearer_by(np.array([0.25, 0.5, 0]), one, other) == pytest.approx(0.5)
    assert nearer_by(np.array([0.0, 0, 1.1]), one, other) == 0, "far from both"
    assert nearer_by(one, one, 0.4 * other) == 0, "they look alike"
