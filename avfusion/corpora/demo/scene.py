"""Everything around the face in a frame: room, shoulders, head movement, light and sensor noise."""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.interpolate import CubicSpline

from avfusion.corpora.demo.features import Expression, paint_features
from avfusion.corpora.demo.head import ORIGIN, UNIT, paint_head
from avfusion.corpora.demo.identity import Identity
from avfusion.corpora.demo.latents import knots, rbf

REFERENCE = 256.0
"""Frame height in pixels that the lengths below refer to."""
NOISE_SD = 1.6
"""Sensor noise in grey levels; more would double the size of the crops."""
YAW_SD, YAW_LIMIT = 0.10, 0.32
_ROOM_RGB = (
    (168, 162, 152),
    (142, 148, 152),
    (120, 124, 122),
    (178, 172, 166),
    (110, 112, 122),
    (150, 140, 130),
    (96, 102, 106),
)
_BLINK_S = 0.22


@dataclass(frozen=True)
class HeadPath:
    """Path of a head over the frames: arrays (N,), angles in radians, positions of the eyes' midpoint in pixels."""

    yaw: np.ndarray
    pitch: np.ndarray
    roll: np.ndarray
    x: np.ndarray
    y: np.ndarray
    scale: np.ndarray
    eyelids: np.ndarray
    gaze: np.ndarray

    def matrix(self, frame: int) -> np.ndarray:
        """Return the affine map (2, 3) from head sprite to picture."""
        cos = self.scale[frame] * np.cos(self.roll[frame])
        sin = self.scale[frame] * np.sin(self.roll[frame])
        shift_x = self.x[frame] - cos * ORIGIN[0] + sin * ORIGIN[1]
        shift_y = self.y[frame] - sin * ORIGIN[0] - cos * ORIGIN[1]
        return np.array([[cos, -sin, shift_x], [sin, cos, shift_y]])


def draw_head_path(rng: np.random.Generator, times: np.ndarray, size: int, centre_x: float) -> HeadPath:
    """Draw the movement of a head around `centre_x` (pixels) at `times` (N,) in seconds, in a picture `size` high."""
    unit = size / REFERENCE
    grid = knots(float(times[-1]))
    factor = np.linalg.cholesky(rbf(grid, 1.3) + 1e-6 * np.eye(len(grid)))
    paths = CubicSpline(grid, factor @ rng.standard_normal((len(grid), 8)))(times)
    constant = rng.standard_normal(6)
    yaw = np.clip(YAW_SD * (0.8 * paths[:, 0] + 0.6 * constant[0]), -YAW_LIMIT, YAW_LIMIT)
    pitch = np.clip(0.05 * paths[:, 1] + 0.03 * constant[1], -0.15, 0.15)
    roll = np.clip(0.045 * paths[:, 2] + 0.03 * constant[2], -0.16, 0.16)
    base = rng.uniform(0.70, 0.88)
    scale = unit * base * (1.0 + np.clip(0.025 * paths[:, 3], -0.07, 0.07))
    x = centre_x + unit * (np.clip(5.0 * paths[:, 4] + 8.0 * constant[4], -22, 22) + 25.0 * yaw)
    y = unit * (112.0 + np.clip(3.5 * paths[:, 5] + 3.0 * constant[5], -12, 12))
    return HeadPath(yaw, pitch, roll, x, y, scale, _blinks(rng, times), np.clip(paths[:, 6:8], -1.5, 1.5))


def _blinks(rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
    """Return the opening of the eyelids (N,): 1, except in short blinks every few seconds."""
    lids = np.ones(len(times))
    moment = rng.uniform(1.0, 4.0)
    while moment < times[-1]:
        lids = np.minimum(lids, np.clip(np.abs(times - moment) / (0.5 * _BLINK_S), 0.05, 1.0))
        moment += rng.uniform(2.0, 6.0)
    return lids


class Sitter:
    """One painted person: sprite and looks, ready to be put into frames."""

    def __init__(self, looks: Identity, light: tuple[float, float]) -> None:
        self.looks = looks
        self.colours, self.opacity = paint_head(looks, light)

    def paint(self, frame: np.ndarray, face: Expression, matrix: np.ndarray) -> np.ndarray:
        """Paint the head into `frame` (H, W, 3) uint8 in place; return its landmarks (5, 2) in picture pixels."""
        canvas = self.colours.copy()
        landmarks = paint_features(canvas, self.looks, face)
        height, width = frame.shape[:2]
        corners = np.array([[0, 0, 1], [canvas.shape[1], 0, 1], [0, canvas.shape[0], 1], [*canvas.shape[1::-1], 1]])
        reach = corners @ matrix.T
        left, top = np.maximum(np.floor(reach.min(axis=0)).astype(int), 0)
        right, bottom = np.minimum(np.ceil(reach.max(axis=0)).astype(int) + 1, (width, height))
        local = matrix - np.array([[0, 0, left], [0, 0, top]])
        size = (int(right - left), int(bottom - top))
        head = cv2.warpAffine(canvas, local, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        share = cv2.warpAffine(self.opacity, local, size, flags=cv2.INTER_LINEAR)
        region = frame[top:bottom, left:right]
        cv2.blendLinear(head, region, share, 1.0 - share, dst=region)
        return landmarks @ matrix[:, :2].T + matrix[:, 2]


def paint_room(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Paint a muted, blurred room (height, width, 3) uint8: a wall, its light, a few pieces of furniture."""
    wall = np.array(_ROOM_RGB[int(rng.integers(len(_ROOM_RGB)))][::-1], np.float32) + rng.normal(0, 5)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    slope = rng.uniform(-0.18, 0.18) * (x / width - 0.5) + rng.uniform(-0.22, 0.05) * (y / height - 0.5)
    room = wall * (1.0 + slope[..., None])
    for _ in range(int(rng.integers(2, 5))):
        left, top = int(rng.uniform(-0.2, 0.9) * width), int(rng.uniform(-0.1, 0.7) * height)
        w, h = int(rng.uniform(0.15, 0.45) * height), int(rng.uniform(0.2, 0.7) * height)
        tone = tuple(float(c) for c in wall * rng.uniform(0.62, 1.22) + rng.normal(0, 6, 3))
        cv2.rectangle(room, (left, top), (left + w, top + h), tone, -1)
    room = cv2.GaussianBlur(room, (0, 0), 0.022 * height)
    return np.clip(room, 20, 225).astype(np.uint8)


def paint_shoulders(room: np.ndarray, looks: Identity, head: HeadPath) -> None:
    """Paint neck and shoulders into `room` in place, under the head's mean position."""
    unit = float(head.scale.mean()) * UNIT
    centre, eyes = float(head.x.mean()), float(head.y.mean())
    over = 4
    big = cv2.resize(room, None, fx=over, fy=over, interpolation=cv2.INTER_LINEAR)

    def fill(points: list[tuple[float, float]], colour: tuple[float, float, float]) -> None:
        pixels = (np.array(points) * unit + (centre, eyes)) * over
        cv2.fillPoly(big, [np.round(pixels).astype(np.int32)], colour)

    def tone(colour: tuple[float, float, float], factor: float) -> tuple[float, float, float]:
        blue, green, red = (channel * factor for channel in colour)
        return blue, green, red

    side = np.linspace(0.0, 1.0, 12)
    right = [(0.55 + 1.55 * s, 2.02 + 0.42 * s**1.3 + 0.9 * max(0.0, s - 0.8) ** 1.2) for s in side]
    outline = [(-x, y) for x, y in right[::-1]] + right + [(2.3, 6.0), (-2.3, 6.0)]
    fill(outline, tone(looks.cloth, 0.92))
    fill(
        [(-0.52, 0.9), (0.52, 0.9), (0.56, 2.05), (0.30, 2.32), (0.0, 2.42), (-0.30, 2.32), (-0.56, 2.05)],
        tone(looks.skin, 0.74),
    )
    neckline = [(0.56 * np.cos(a), 2.05 + 0.42 * np.sin(a)) for a in np.linspace(0.0, np.pi, 20)]
    pixels = np.round((np.array(neckline) * unit + (centre, eyes)) * over).astype(np.int32)
    cv2.polylines(big, [pixels], False, tone(looks.cloth, 0.7), 2 * over, cv2.LINE_AA)
    room[:] = cv2.resize(big, room.shape[1::-1], interpolation=cv2.INTER_AREA)


class Sensor:
    """Exposure and noise of the camera; noise is cut from one texture at random offsets, which costs only a copy."""

    def __init__(self, rng: np.random.Generator, width: int, height: int, times: np.ndarray) -> None:
        texture = rng.standard_normal((height + 64, width + 64, 3), dtype=np.float32) * NOISE_SD + 128.5
        self._texture = np.clip(texture, 0, 255).astype(np.uint8)
        self._offsets = rng.integers(0, 64, (len(times), 2))
        phase, period = rng.uniform(0, 2 * np.pi), rng.uniform(5.0, 12.0)
        drift = 0.04 * np.sin(2 * np.pi * times / period + phase)
        self.exposure = np.clip(rng.uniform(0.92, 1.06) + drift, 0.88, 1.10)

    def expose(self, frame: np.ndarray, index: int) -> np.ndarray:
        """Return what the camera records of `frame` (H, W, 3) uint8 as frame `index`."""
        y, x = self._offsets[index]
        noise = self._texture[y : y + frame.shape[0], x : x + frame.shape[1]]
        return cv2.addWeighted(frame, float(self.exposure[index]), noise, 1.0, -128.0)
