"""Turn own labels, stamped by frame or time, into a label for every video frame.

A label of stamp t describes the moment t - delay. A frame takes

- the label for its very time (within `SAME_S`), - else the linear interpolation of the labels before and after it,
invalid if either is not annotated, - at the ends of the labels, and beside a gap in them, the nearest label if that is
at most half a step away, - else none.

A gap is a missing frame number, or more than `LONGEST_GAP` usual (median) steps of time.
"""

import numpy as np

from avfusion.data.labels import LabelTable
from avfusion.data.own_labels import OwnLabels

SAME_S = 1e-3  # stamps are often written in milliseconds
LONGEST_GAP = 3.0
_ROUNDING_S = 1e-6


def needs_times(labels: OwnLabels, delay_s: float) -> bool:
    """Whether pairing the labels needs the times of the frames."""
    return labels.by == "time" or delay_s != 0


def labels_by_number(labels: OwnLabels, frames: int) -> LabelTable:
    """Labels of `frames` frames, paired by frame number."""
    values, valid = np.full((frames, 2), np.nan, np.float32), np.zeros(frames, bool)
    inside = (labels.stamps >= 1) & (labels.stamps <= frames)
    at = labels.stamps[inside].astype(np.int64) - 1
    values[at], valid[at] = labels.values[inside], labels.valid[inside]
    return LabelTable(values[:, 0], values[:, 1], valid)


def labels_by_time(labels: OwnLabels, times_s: np.ndarray, end_s: float, delay_s: float = 0.0) -> LabelTable:
    """Labels of frames shown at `times_s`.

    Args:
        labels: Labels by frame number (numbers past the last frame continue at the mean frame rate) or by seconds.
        times_s: (N,) seconds from frame 1, ascending.
        end_s: When the last frame ends.
        delay_s: Delay of the labels in seconds.
    """
    frame_s = end_s / len(times_s)
    if labels.by == "time":
        stamps, used = labels.stamps, np.ones(len(labels), bool)
        steps = np.diff(stamps)
        step = float(np.median(steps)) if len(steps) else frame_s
        joined = steps <= LONGEST_GAP * step + _ROUNDING_S
    else:
        used = labels.stamps >= 1
        numbers = labels.stamps[used].astype(np.int64)
        beyond = np.maximum(numbers - len(times_s), 0)
        stamps = times_s[numbers - beyond - 1] + beyond * frame_s
        step, joined = frame_s, np.diff(numbers) == 1
    if not len(stamps):
        return labels_by_number(labels, len(times_s))
    values, valid = _sample(times_s + delay_s, stamps, labels.values[used], labels.valid[used], joined, step)
    values[~valid] = np.nan
    return LabelTable(values[:, 0].astype(np.float32), values[:, 1].astype(np.float32), valid)


def _sample(
    moments: np.ndarray, stamps: np.ndarray, values: np.ndarray, valid: np.ndarray, joined: np.ndarray, step: float
) -> tuple[np.ndarray, np.ndarray]:
    """Values (N, 2) and validity (N,) at `moments`; `joined` (n - 1,): no gap between a stamp and the next."""
    last = len(stamps) - 1
    after = np.searchsorted(stamps, moments)  # the first stamp at or after the time
    left, right = np.clip(after - 1, 0, last), np.clip(after, 0, last)
    nearest = np.where(moments - stamps[left] <= stamps[right] - moments, left, right)
    distance = np.abs(moments - stamps[nearest])
    same = distance <= min(SAME_S, step / 10)
    between = ~same & (left < right) & np.append(joined, False)[left]
    near = same | (~between & (distance <= step / 2 + _ROUNDING_S))
    share = np.where(between, moments - stamps[left], 0) / np.where(between, stamps[right] - stamps[left], 1)
    linear = values[left] + share[:, None] * (values[right] - values[left])
    found = np.where(near[:, None], values[nearest], linear)
    return found, np.where(near, valid[nearest], between & valid[left] & valid[right])
