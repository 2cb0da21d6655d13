"""Rectangles (x1, y1, x2, y2): overlap, suppression of doubles, squares, regression. Vectorised."""

from typing import Literal

import numpy as np


def areas(boxes: np.ndarray) -> np.ndarray:
    """Areas of (N, 4) boxes, (N,); 0 for inverted boxes."""
    extents = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return extents[:, 0] * extents[:, 1]


def overlaps(box: np.ndarray, boxes: np.ndarray, over: Literal["union", "smaller"] = "union") -> np.ndarray:
    """Intersection of one box with (N, 4) others, over their union or over the smaller of the two; (N,) in [0, 1]."""
    corner_low = np.maximum(box[:2], boxes[:, :2])
    corner_high = np.minimum(box[2:], boxes[:, 2:])
    extents = np.maximum(corner_high - corner_low, 0)
    shared = extents[:, 0] * extents[:, 1]
    own, others = areas(box[None])[0], areas(boxes)
    whole = own + others - shared if over == "union" else np.minimum(own, others)
    return shared / np.maximum(whole, 1e-9)


def suppress_doubles(
    boxes: np.ndarray, scores: np.ndarray, limit: float, over: Literal["union", "smaller"] = "union"
) -> np.ndarray:
    """Non-maximum suppression: indices of the boxes kept, best first, that overlap no better one by more than `limit`.

    Equal scores keep their order, so the result is always the same.
    """
    order = np.argsort(-scores, kind="stable")
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        order = order[overlaps(boxes[best], boxes[order], over) <= limit]
    return np.array(kept, np.intp)


def squared(boxes: np.ndarray) -> np.ndarray:
    """The boxes extended around their centres to squares, (N, 4)."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = np.max(boxes[:, 2:] - boxes[:, :2], axis=1, keepdims=True) / 2
    return np.concatenate([centres - half, centres + half], axis=1)


def regressed(boxes: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """The boxes with each corner moved by (N, 4) offsets, given in widths and heights of the box."""
    sizes = boxes[:, 2:] - boxes[:, :2]
    return boxes + offsets * np.tile(sizes, 2)


def doubled(boxes: np.ndarray) -> np.ndarray:
    """The boxes with twice the width and height around the same centres, (N, 4)."""
    margin = (boxes[:, 2:] - boxes[:, :2]) / 2
    return np.concatenate([boxes[:, :2] - margin, boxes[:, 2:] + margin], axis=1)
