"""Windows in seconds hold the same stretch of time at every frame rate."""

import numpy as np
import pytest

from avfusion.scoring.smoothing import PUBLISHED_FRAMES, smooth, smooth_seconds, window_frames

PUBLISHED_S = (0.667, 1.667)


@pytest.mark.parametrize(("fps", "frames"), [(15, (10, 25)), (25, (17, 42)), (30, PUBLISHED_FRAMES), (60, (40, 100))])
def test_frames_of_the_published_windows(fps: float, frames: tuple[int, int]) -> None:
    time_s = np.arange(300) / fps
    assert tuple(window_frames(time_s, seconds) for seconds in PUBLISHED_S) == frames


def test_a_step_is_smoothed_over_the_same_time_at_15_and_60_fps() -> None:
    ramps = {}
    for fps in (15, 60):
        time_s = np.arange(8 * fps) / fps
        step = np.repeat((time_s >= 4).astype(np.float32)[:, None], 2, axis=1)
        found = smooth_seconds(step, time_s, (2.0, 1.0))
        ramps[fps] = [time_s[(column > 0.01) & (column < 0.99)] for column in found.T]
    for slow, fast in zip(ramps[15], ramps[60], strict=True):
        assert np.ptp(slow) == pytest.approx(np.ptp(fast), abs=0.1)
    assert np.ptp(ramps[60][0]) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize(("fps", "frames"), [(30000 / 1001, PUBLISHED_FRAMES), (60, (40, 100))])
def test_stamps_in_whole_milliseconds_do_not_move_windows(fps: float, frames: tuple[int, int]) -> None:
    """As in WebM and Matroska, whose median step is 33 or 17 ms."""
    time_s = np.round(np.arange(3000) / fps, 3)
    assert tuple(window_frames(time_s, seconds) for seconds in PUBLISHED_S) == frames


def test_frame_rates_that_vary_are_taken_by_their_usual_steps() -> None:
    time_s = np.cumsum([0.0, *[0.04] * 60, 3.0, *[0.04] * 60])
    assert window_frames(time_s, 0.4) == 10
    assert (window_frames(time_s, 0.0), window_frames(time_s[:1], 5.0)) == (1, 1)
    values = np.random.default_rng(0).normal(size=(len(time_s), 2))
    np.testing.assert_allclose(smooth_seconds(values, time_s, (0, 0)), values, atol=1e-12)
    np.testing.assert_array_equal(smooth_seconds(values, time_s, (0.4, 0.2)), smooth(values, (10, 5)))
