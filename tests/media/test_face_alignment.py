import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage import data

from avfusion.media.alignment import TEMPLATE, align_face, similarity
from avfusion.media.faces import FaceDetector


@given(st.floats(0.05, 20), st.floats(-np.pi, np.pi), st.floats(-500, 500), st.floats(-500, 500))
def test_a_known_similarity_is_recovered_exactly(scale, angle, x, y):
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    expected = np.concatenate([turn, [[x], [y]]], axis=1)
    moved = TEMPLATE @ turn.T + [x, y]
    np.testing.assert_allclose(similarity(TEMPLATE, moved), expected, atol=1e-8 * max(1, scale) * 1000)


def test_inexact_points_are_met_in_least_squares():
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(5, 2)), rng.normal(size=(5, 2))
    rows = np.concatenate([[[x, -y, 1, 0], [y, x, 0, 1]] for x, y in source])
    a, b, shift_x, shift_y = np.linalg.lstsq(rows, target.ravel(), rcond=None)[0]
    np.testing.assert_allclose(similarity(source, target), [[a, -b, shift_x], [b, a, shift_y]], atol=1e-12)


@pytest.mark.parametrize("points", [np.ones((5, 2)), np.full((5, 2), np.nan)])
def test_unusable_points_are_refused(points):
    with pytest.raises(ValueError, match="points for a similarity"):
        similarity(points, TEMPLATE)


@pytest.mark.parametrize("factor", [1, 3, 8])
def test_landmarks_land_on_the_template_at_any_scale(factor):
    """Dots drawn at the landmarks are found at the template's positions."""
    angle = 0.3
    turn = factor * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    landmarks = TEMPLATE @ turn.T + [60 * factor, 20 * factor]
    image = np.zeros((200 * factor, 200 * factor, 3), np.uint8)
    for x, y in landmarks:
        cv2.circle(image, (round(x * 16), round(y * 16)), round(3.5 * factor * 16), (255, 255, 255), -1, cv2.LINE_AA, 4)
    crop = align_face(image, landmarks)
    assert crop.shape == (112, 112, 3)
    grid = np.stack(np.meshgrid(np.arange(112), np.arange(112)), axis=-1)
    for point in TEMPLATE:
        weight = crop[..., 0] * (np.linalg.norm(grid - point, axis=-1) < 7)
        centre = (grid * weight[..., None]).sum(axis=(0, 1)) / weight.sum()
        np.testing.assert_allclose(centre, point, atol=0.25)


def test_the_astronauts_crop_shows_the_face_where_the_template_says():
    image = data.astronaut()
    crop = align_face(image, FaceDetector().detect(image)[0].landmarks)
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(float)
    cheek, eyes = grey[65:75, 36:44].mean(), [grey[47:57, x - 4 : x + 5].min() for x in (38, 73)]
    assert cheek > 130
    assert max(eyes) < 75
    teeth = crop[84:94, 48:64].astype(int)
    assert teeth.min(axis=2).max() > 180


def test_beyond_the_edge_is_black():
    image = np.full((80, 80, 3), 200, np.uint8)
    crop = align_face(image, TEMPLATE - 60)
    assert (crop[:40, :40] == 0).all() or (crop[-20:, -20:] == 0).all()
    assert (crop == 200).any()
