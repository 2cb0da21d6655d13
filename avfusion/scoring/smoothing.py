"""Smoothing of the predictions of one track over time."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy.ndimage import uniform_filter1d


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
