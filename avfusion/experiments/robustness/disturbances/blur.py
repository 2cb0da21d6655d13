"""A face out of focus."""

import cv2
import numpy as np


def disturb(crop: np.ndarray, sigma: float, place: tuple[float, float]) -> np.ndarray:
    """RGB crop under a Gaussian of `sigma` pixels."""
    return np.asarray(cv2.GaussianBlur(crop, (0, 0), sigma))
