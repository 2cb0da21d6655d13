import numpy as np
import pytest

from avfusion.media.face_motion import expected_boxes, misplacement, sides_off


def _boxes(centres, side=100.0):
    x = np.asarray(centres, float)
    return np.stack([x - side / 2, np.zeros_like(x), x + side / 2, np.full_like(x, side)], axis=1)


def _centre(box):
    return (box[0] + box[2]) / 2


def test_a_face_is_expected_where_it_was_and_where_it_would_be():
    goes_on, stopped = expected_boxes([0.0, 0.2, 0.4], _boxes([0, 30, 60]), 0.6)
    assert _centre(goes_on) == pytest.approx(90)
    assert _centre(stopped) == 60
    np.testing.assert_allclose(expected_boxes([0.4], _boxes([60]), 0.6), np.repeat(_boxes([60]), 2, axis=0))


def test_times_count_not_numbers_of_detections():
    goes_on = expected_boxes([0.0, 0.04, 0.2], _boxes([0, 4, 20]), 0.5)[0]
    assert _centre(goes_on) == pytest.approx(50)


def test_nobody_goes_on_for_long_and_an_old_sight_tells_no_speed():
    assert _centre(expected_boxes([0.0, 0.2], _boxes([0, 20]), 9.0)[0]) == pytest.approx(20 + 0.5 * 100)
    assert _centre(expected_boxes([0.0, 3.0], _boxes([0, 300]), 3.2)[0]) == 300


def test_jitter_of_the_detector_averages_out():
    rng = np.random.default_rng(0)
    times = np.arange(40) / 25
    boxes = _boxes(60 * times) + rng.normal(0, 2, (40, 4))
    errors = [
        _centre(expected_boxes(times[:stop], boxes[:stop], times[stop - 1] + 0.2)[0]) - 60 * (times[stop - 1] + 0.2)
        for stop in range(10, 41)
    ]
    assert np.std(errors) < 5, "a speed from the last two alone would be off by 10"


def test_distance_counts_in_sides_of_the_face_and_less_after_a_while():
    near, far = _boxes([30, 60])
    faces = np.stack([near, far])
    np.testing.assert_allclose(sides_off(faces, _boxes([0, 60])), [[0.3, 0.6], [0.3, 0.0]])
    np.testing.assert_allclose(sides_off(_boxes([60], 200.0), _boxes([0], 200.0)), [[0.3]])
    at_once, later = (misplacement(faces, _boxes([0]), seconds)[0] for seconds in (0.04, 0.8))
    assert at_once[1] - at_once[0] > 2.5
    assert later[1] - later[0] < 0.5


def test_another_size_speaks_against_it_but_not_without_end():
    same, larger, huge = (
        misplacement(_boxes([0], side) - [0, side / 2 - 50, 0, side / 2 - 50], _boxes([0]), 0.2)[0, 0]
        for side in (100, 120, 400)
    )
    assert larger - same == pytest.approx(0.5 * (np.log(1.2) / 0.15) ** 2)
    assert huge - same == 2.0
