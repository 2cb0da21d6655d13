"""Smoothing of the predictions of one track over time."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy.ndimage import uniform_filter1d

PUBLISHED_FRAMES = (20, 50)  # of valence and arousal, in the code of arXiv 2209.09068, for videos of about 30 fps


def smooth(
    predictions: np.ndarray, windows: Sequence[int], edges: Literal["nearest", "constant"] = "nearest"
) -> np.ndarray:
    """Uniform filter over the frames of one track, one window length per column of `predictions` (N, 2).

    Beyond the ends the first and last values are repeated (`edges="constant"`: zeros, as in the published code); labels
    do not matter.
    """
    if len(predictions) == 0:
        return predictions
    columns = [uniform_filter1d(predictions[:, c].astype(np.float64), w, mode=edges) for c, w in enumerate(windows)]
    return np.stack(columns, axis=1).astype(predictions.dtype)


def smooth_seconds(predictions: np.ndarray, time_s: np.ndarray, windows_s: Sequence[float]) -> np.ndarray:
    """`smooth` with windows in seconds: the same stretch of time at every frame rate, at least one frame.

    Args:
        time_s: (N,) seconds of the frames.
    """
    return smooth(predictions, [window_frames(time_s, seconds) for seconds in windows_s])


def window_frames(time_s: np.ndarray, seconds: float) -> int:
    """The frames of a window of so many seconds, 1 or more.

    The distance of frames is the mean of the usual ones, those within half of the median: gaps do not count, and stamps
    in whole milliseconds (33, 33, 34) average out.
    """
    steps = np.diff(time_s)
    usual = steps[np.abs(steps - np.median(steps)) <= 0.5 * np.median(steps)] if len(steps) else steps
    step = float(usual.mean()) if len(usual) else 0.0
    return max(1, round(seconds / step)) if step > 0 else 1
