"""People painted into a picture with body, head and a face that acts."""

import cv2
import numpy as np

from avfusion.corpora.demo.features import Expression
from avfusion.corpora.demo.head import UNIT
from avfusion.corpora.demo.scene import HeadPath, Sitter

BODY = np.array([(-0.5, 0.9), (0.5, 0.9), (0.6, 2.1), (2.1, 2.7), (2.3, 6), (-2.3, 6), (-2.1, 2.7), (-0.6, 2.1)])
NECK = BODY[[0, 1, 2, 7]]
FACE = np.array([(-0.5, 0), (0.5, 0), (0, 0.6), (-0.4, 1.1), (0.4, 1.1)])  # landmarks, in eye distances


def expression(head: HeadPath, frame: int, phases: np.ndarray, time_s: float) -> Expression:
    """A face that smiles, frowns and speaks, each at a rate of its own from its phase on: `phases` (4,) in radians."""
    smile, brow, eyes, mouth = np.sin(np.array([1.1, 0.9, 1.3, 7.0]) * time_s + phases)
    return Expression(
        smile=float(0.8 * smile),
        brow_tilt=float(0.6 * brow),
        brow_height=float(0.6 * brow),
        eye_opening=float(0.6 * eyes),
        mouth_opening=float(max(0.0, 0.6 * mouth)),
        eyelids=float(head.eyelids[frame]),
        gaze=(0.0, 0.0),
        yaw=float(head.yaw[frame]),
        pitch=float(head.pitch[frame]),
    )


def paint_sitter(picture: np.ndarray, person: Sitter, head: HeadPath, frame: int, face: Expression) -> np.ndarray:
    """Paint body and head into `picture` (H, W, 3) uint8 where they are in it; gives landmarks (5, 2) in pixels."""
    unit = head.scale[frame] * UNIT
    x, y = head.x[frame], head.y[frame]
    for points, colour in ((BODY, person.looks.cloth), (NECK, person.looks.skin)):
        pixels = np.round((points * unit + (x, y)) * 16).astype(np.int32)
        cv2.fillPoly(picture, [pixels], [0.8 * c for c in colour], cv2.LINE_AA, 4)
    if -1.6 * unit < x < picture.shape[1] + 1.6 * unit:
        return person.paint(picture, face, head.matrix(frame))
    return unit * FACE + (x, y)
