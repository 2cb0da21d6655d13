"""Face crops as Aff-Wild2's owners deliver them: 112×112, aligned to the field's five-point template."""

import cv2
import numpy as np

CROP = 112
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Positions of eyes, nose tip and mouth corners, in pixels of the crop."""
JPEG_QUALITY = 80


def alignment(landmarks: np.ndarray) -> np.ndarray:
    """Return the 4-parameter similarity (2, 3) that maps `landmarks` (5, 2) to `TEMPLATE` in least squares."""
    source, target = landmarks - landmarks.mean(axis=0), TEMPLATE - TEMPLATE.mean(axis=0)
    power = np.sum(source**2)
    a = np.sum(source * target) / power
    b = np.sum(source[:, 0] * target[:, 1] - source[:, 1] * target[:, 0]) / power
    rotation = np.array([[a, -b], [b, a]])
    shift = TEMPLATE.mean(axis=0) - rotation @ landmarks.mean(axis=0)
    return np.column_stack([rotation, shift])


def crop_jpeg(frame: np.ndarray, landmarks: np.ndarray) -> bytes:
    """Return the aligned crop of `frame` (H, W, 3) uint8 BGR as JPEG bytes."""
    crop = cv2.warpAffine(frame, alignment(landmarks), (CROP, CROP), flags=cv2.INTER_LINEAR)
    return cv2.imencode(".jpg", crop, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))[1].tobytes()
