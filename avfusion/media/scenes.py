"""Whether the picture has changed as a whole from one look at it to the next, as at a cut."""

import cv2
import numpy as np

CHANGED = 0.05
"""Logarithm of brightness by which most of a picture has to change.

It is more in 95 of 100 cuts between rendered rooms; people who cross before a camera make it 0.02 in 0.4 s, things held
before a face 0.01, a film of a person on a tripod 0.02."""

_COLUMNS, _ROWS = 16, 9
_UNCHANGED = 40  # percent of the cells that may change less: what moves does not fill a picture
_DARK = 16.0  # grey levels


def picture_layout(rgb: np.ndarray) -> np.ndarray:
    """Logarithms of the colours of an (H, W, 3) uint8 image in cells, (9, 16, 3) float32."""
    every = max(1, min(rgb.shape[0] // (8 * _ROWS), rgb.shape[1] // (8 * _COLUMNS)))  # 8x8 pixels of a cell will do
    pixels = np.ascontiguousarray(rgb[::every, ::every])
    return np.log(cv2.resize(pixels, (_COLUMNS, _ROWS), interpolation=cv2.INTER_AREA).astype(np.float32) + _DARK)


def scene_changed(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether most cells changed otherwise than by a common factor, which is only exposure or white balance."""
    change = after - before
    change -= np.median(change, axis=(0, 1))
    return float(np.percentile(np.abs(change).mean(axis=2), _UNCHANGED)) > CHANGED
