"""Detect changes of the whole picture between two samples, as at a cut."""

import cv2
import numpy as np

CHANGED = 0.05
"""Change of log brightness that most of a picture must exceed.

95 of 100 cuts between rendered rooms exceed it; people who cross before a camera reach 0.02 in 0.4 s, things held
before a face 0.01, a film of a person on a tripod 0.02."""

_COLUMNS, _ROWS = 16, 9
_UNCHANGED = 40  # percent of the cells that may change less: moving things do not fill a picture
_DARK = 16.0  # grey levels


def picture_layout(rgb: np.ndarray) -> np.ndarray:
    """Logarithms of the colours of an (H, W, 3) uint8 image in cells, (9, 16, 3) float32."""
    every = max(1, min(rgb.shape[0] // (8 * _ROWS), rgb.shape[1] // (8 * _COLUMNS)))  # 8x8 pixels per cell are enough
    pixels = np.ascontiguousarray(rgb[::every, ::every])
    return np.log(cv2.resize(pixels, (_COLUMNS, _ROWS), interpolation=cv2.INTER_AREA).astype(np.float32) + _DARK)


def scene_changed(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether most cells changed by more than a common factor (exposure, white balance)."""
    change = after - before
    change -= np.median(change, axis=(0, 1))
    return float(np.percentile(np.abs(change).mean(axis=2), _UNCHANGED)) > CHANGED
