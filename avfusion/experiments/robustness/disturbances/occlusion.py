"""A grey square over the face."""

import numpy as np

GREY = 128


def disturb(crop: np.ndarray, share: float, place: tuple[float, float]) -> np.ndarray:
    """RGB crop (H, W, 3) with a grey square over `share` of it; `place` in [0, 1]²: from the upper left corner on."""
    height, width = crop.shape[:2]
    side = round(np.sqrt(share * height * width))
    top, left = (round(part * (size - side)) for part, size in zip(place, (height, width), strict=True))
    covered = crop.copy()
    covered[top : top + side, left : left + side] = GREY
    return covered
