"""Where a face is expected some time after its detections, and the cost of finding it elsewhere."""

from collections.abc import Sequence

import numpy as np

from avfusion.media.boxes import areas

_MEMORY_S = 0.25  # detections this recent show how a face moves; the detector's jitter averages out
_OLDEST_S = 1.0  # or at least the last two, if they are not further apart
_GOES_ON_S = 0.5  # nobody keeps their motion for longer
_JITTER, _DRIFT, _FARTHEST = 0.2, 0.5, 0.6  # standard deviation of the place in sides of the face: at once, per s, most
_RESIZED, _MOST_FOR_SIZE = (
    0.15,
    2.0,
)  # for the logarithm of the size; a covered face has a smaller box, so the nats are bounded


def expected_boxes(times_s: Sequence[float], boxes: np.ndarray, time_s: float) -> np.ndarray:
    """Expected boxes (2, 4) at `time_s` of a face with (N, 4) boxes at `times_s`: moving on, and standing still."""
    back = times_s[-1] - np.asarray(times_s)
    recent = back <= _MEMORY_S
    recent[-2:] |= back[-2:] <= _OLDEST_S
    at, centres = -back[recent], (boxes[recent, :2] + boxes[recent, 2:]) / 2
    at -= at.mean()
    spread = float((at**2).sum())
    speed = at @ centres / spread if spread > 0 else np.zeros(2)
    shift = speed * min(time_s - times_s[-1], _GOES_ON_S)
    return np.stack([boxes[-1] + np.tile(shift, 2), boxes[-1]])


def sides_off(boxes: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Distances (M, N) between centres of (N, 4) boxes and (M, 4) expected boxes, in mean sides of both."""
    apart = (boxes[None, :, :2] + boxes[None, :, 2:] - expected[:, None, :2] - expected[:, None, 2:]) / 2
    sides = (_sides(boxes)[None] + _sides(expected)[:, None]) / 2
    return np.hypot(apart[..., 0], apart[..., 1]) / sides


def misplacement(boxes: np.ndarray, expected: np.ndarray, away_s: float) -> np.ndarray:
    """Costs (M, N), in nats, of finding a face in (N, 4) boxes that is expected in (M, 4) boxes after `away_s`."""
    deviation = min(_JITTER + _DRIFT * away_s, _FARTHEST)
    grown = np.log(_sides(boxes)[None] / _sides(expected)[:, None])
    size = np.minimum(0.5 * (grown / _RESIZED) ** 2, _MOST_FOR_SIZE)
    return 0.5 * (sides_off(boxes, expected) / deviation) ** 2 + 2 * np.log(deviation / _JITTER) + size


def _sides(boxes: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(areas(boxes), 1.0))
