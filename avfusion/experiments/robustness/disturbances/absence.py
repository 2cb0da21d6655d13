"""A stream that is absent for a while."""

import numpy as np


def absent_span(clips: int, share: float, place: float) -> np.ndarray:
    """(T,) bool, one contiguous span of `share` of the clips; `place` in [0, 1]: from the first to the last possible.

    At one place, a larger share holds the clips of a smaller one (but for rounding).
    """
    length = round(share * clips)
    start = round(place * (clips - length))
    return (np.arange(clips) >= start) & (np.arange(clips) < start + length)
