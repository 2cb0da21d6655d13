"""Align faces to one template, so that eyes, nose and mouth always lie at the same pixels."""

import cv2
import numpy as np

# The field's common 112x112 template: eyes, nose tip, mouth corners, as (x, y).
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float64
)
TEMPLATE_SIZE = 112


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The 2x3 matrix [aR | t] (scale, rotation, shift; no mirroring) that maps `source` closest to `target`.

    Least squares in closed form over (N, 2) points: with centred points as complex numbers z and w, the best factor
    is conj(z).w / |z|².

    Raises:
        ValueError: all source points coincide, or a coordinate is not finite.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    if not (np.isfinite(source).all() and np.isfinite(target).all()):
        raise ValueError("points for a similarity must be finite")
    centre, goal = source.mean(axis=0), target.mean(axis=0)
    z = (source - centre) @ np.array([1, 1j])
    w = (target - goal) @ np.array([1, 1j])
    spread = float(np.vdot(z, z).real)
    if spread <= 1e-12:
        raise ValueError("points for a similarity must not all coincide")
    factor = np.vdot(z, w) / spread
    turn = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    return np.concatenate([turn, (goal - turn @ centre)[:, None]], axis=1)


def align_face(rgb: np.ndarray, landmarks: np.ndarray, size: int = TEMPLATE_SIZE) -> np.ndarray:
    """The face in an (H, W, 3) uint8 image as (size, size, 3) uint8 on the template; black beyond the edge.

    Args:
        landmarks: (5, 2) pixel positions in the template's order.
        size: Side of the crop; the template is scaled with it.
    """
    matrix = similarity(landmarks, TEMPLATE * (size / TEMPLATE_SIZE))
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale < 0.5:
        # Bilinear sampling reads 2x2 pixels: a large face is first halved until 2x2 pixels cover a pixel of the crop.
        halvings = int(np.floor(np.log2(1 / scale)))
        rgb, matrix = _halved(rgb, landmarks, matrix, size, 2**halvings)
    return cv2.warpAffine(rgb, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def _halved(
    rgb: np.ndarray, landmarks: np.ndarray, matrix: np.ndarray, size: int, factor: int
) -> tuple[np.ndarray, np.ndarray]:
    """The part of the image that the crop shows, `factor` times smaller, and the matrix for it."""
    inverse = cv2.invertAffineTransform(matrix)
    corners = np.array([[0, 0], [size, 0], [0, size], [size, size]], np.float64) @ inverse[:, :2].T + inverse[:, 2]
    low = np.clip(np.floor(corners.min(axis=0)).astype(int) - 2 * factor, 0, [rgb.shape[1], rgb.shape[0]])
    high = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 2 * factor, 0, [rgb.shape[1], rgb.shape[0]])
    extent = (high - low) // factor
    if (extent < 1).any():
        return rgb, matrix
    part = rgb[low[1] : low[1] + extent[1] * factor, low[0] : low[0] + extent[0] * factor]
    small = cv2.resize(part, (int(extent[0]), int(extent[1])), interpolation=cv2.INTER_AREA)
    moved = (np.asarray(landmarks, np.float64) - low + 0.5) / factor - 0.5
    return small, similarity(moved, TEMPLATE * (size / TEMPLATE_SIZE))
