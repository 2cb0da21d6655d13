"""Objects held before a face (book, tablet, hands), drawn anew for each occlusion, so that none identifies a person."""

import cv2
import numpy as np

from avfusion.corpora.demo.head import UNIT
from avfusion.corpora.demo.identity import Colour
from avfusion.corpora.demo.latents import Span

KINDS = ("book", "tablet", "hands")
COVERED = 0.6
"""Progress at which the mouth, and soon the eyes, are hidden."""
_MOVE_S = 0.24
_COVERS_RGB = ((126, 96, 84), (86, 98, 108), (96, 104, 88), (134, 122, 104), (78, 76, 88), (140, 132, 126))
_OVERSAMPLING = 3


class Occluder:
    """One occlusion: its sprite and its progress."""

    def __init__(self, rng: np.random.Generator, span: Span, skin: Colour, scale: float) -> None:
        kind = KINDS[int(rng.integers(len(KINDS)))]
        self.span = span
        self._offset = rng.normal(0.0, 0.06, 2)
        self._sprite, self._opacity = _paint(rng, kind, skin, scale)
        self._unit = scale * UNIT

    def progress(self, time: float) -> float:
        """Return 0 (out of the way) to 1 (right before the face) at `time` seconds."""
        start, end = self.span
        ramp = min((time - start) / _MOVE_S, (end - time) / _MOVE_S) + COVERED
        return float(np.clip(ramp, 0.0, 1.0))

    def paint(self, frame: np.ndarray, centre: tuple[float, float], progress: float) -> None:
        """Paint the sprite, sliding in from below, over the face with the eyes' midpoint at `centre` (pixels)."""
        height, width = self._sprite.shape[:2]
        eased = progress * progress * (3.0 - 2.0 * progress)
        x = centre[0] + self._offset[0] * self._unit - 0.5 * width
        y = centre[1] + (0.55 + self._offset[1] + 3.6 * (1.0 - eased)) * self._unit - 0.5 * height
        left, top = round(x), round(y)
        x0, y0 = max(left, 0), max(top, 0)
        x1, y1 = min(left + width, frame.shape[1]), min(top + height, frame.shape[0])
        if x1 <= x0 or y1 <= y0:
            return
        cut = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
        share = self._opacity[cut]
        region = frame[y0:y1, x0:x1]
        cv2.blendLinear(np.ascontiguousarray(self._sprite[cut]), region, share, 1.0 - share, dst=region)


def _paint(rng: np.random.Generator, kind: str, skin: Colour, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Return colours (H, W, 3) uint8 and opacity (H, W) float32; the sprite hides brows to chin."""
    unit = scale * UNIT * _OVERSAMPLING
    height, width = int(3.9 * unit), int(2.9 * unit)
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[:] = skin
    opacity = np.zeros((height, width), np.uint8)
    if kind == "hands":
        _hands(canvas, opacity, skin, unit, rng)
    else:
        red, green, blue = _COVERS_RGB[int(rng.integers(len(_COVERS_RGB)))]
        _board(canvas, opacity, (blue, green, red), skin, unit, kind, rng)
    size = (width // _OVERSAMPLING, height // _OVERSAMPLING)
    return (
        cv2.resize(canvas, size, interpolation=cv2.INTER_AREA),
        cv2.resize(opacity, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255.0,
    )


def _tone(colour: Colour, factor: float) -> Colour:
    blue, green, red = (min(255.0, channel * factor) for channel in colour)
    return blue, green, red


def _board(
    canvas: np.ndarray,
    opacity: np.ndarray,
    cover: Colour,
    skin: Colour,
    unit: float,
    kind: str,
    rng: np.random.Generator,
) -> None:
    width = opacity.shape[1]
    left, right = int(0.5 * width - 1.15 * unit), int(0.5 * width + 1.15 * unit)
    top, bottom = int(0.42 * unit), int(3.35 * unit)
    cv2.rectangle(canvas, (left, top), (right, bottom), _tone(cover, 0.55 if kind == "tablet" else 1.0), -1)
    cv2.rectangle(opacity, (left, top), (right, bottom), 255, -1)
    if kind == "tablet":
        edge = int(0.1 * unit)
        cv2.rectangle(canvas, (left + edge, top + edge), (right - edge, bottom - edge), _tone(cover, 0.72), -1)
        cv2.circle(canvas, (width // 2, int(0.9 * unit)), int(0.06 * unit), _tone(cover, 0.35), -1, cv2.LINE_AA)
    else:
        cv2.line(
            canvas,
            (left + int(0.16 * unit), top),
            (left + int(0.16 * unit), bottom),
            _tone(cover, 0.75),
            int(0.05 * unit),
        )
        for row in range(int(rng.integers(2, 4))):
            y = int((1.0 + 0.28 * row) * unit)
            length = int(rng.uniform(0.5, 0.9) * unit)
            cv2.line(
                canvas,
                (width // 2 - length, y),
                (width // 2 + length, y),
                _tone(cover, 1.35),
                int(0.09 * unit),
                cv2.LINE_AA,
            )
    for x, direction in ((left, 1), (right, -1)):
        for finger in range(4):
            y = int((2.2 + 0.22 * finger) * unit)
            start, end = (x - direction * int(0.10 * unit), y), (x + direction * int(0.28 * unit), y - int(0.03 * unit))
            cv2.line(canvas, start, end, _tone(skin, 0.80), int(0.22 * unit), cv2.LINE_AA)
            cv2.line(canvas, start, end, _tone(skin, 0.96), int(0.17 * unit), cv2.LINE_AA)
            cv2.line(opacity, start, end, 255, int(0.22 * unit))


def _hands(canvas: np.ndarray, opacity: np.ndarray, skin: Colour, unit: float, rng: np.random.Generator) -> None:
    """Paint two raised hands side by side, fingers up."""
    width = opacity.shape[1]
    lean = rng.uniform(0.0, 0.10)
    for side in (-1, 1):
        middle = 0.5 * width + side * 0.60 * unit
        palm = (int(middle), int(2.55 * unit))
        axes = (int(0.64 * unit), int(0.82 * unit))
        cv2.ellipse(canvas, palm, axes, 0, 0, 360, _tone(skin, 0.90), -1, cv2.LINE_AA)
        cv2.ellipse(opacity, palm, axes, 0, 0, 360, 255, -1)
        for finger, length in enumerate((1.75, 1.95, 1.85, 1.55)):
            x = middle + side * (finger - 1.5) * 0.31 * unit
            start = (int(x), int(2.45 * unit))
            end = (int(x + side * (0.10 * (finger - 1.5) - lean) * unit), int((2.45 - length) * unit))
            cv2.line(opacity, start, end, 255, int(0.33 * unit))
            cv2.line(canvas, start, end, _tone(skin, 0.74), int(0.33 * unit), cv2.LINE_AA)
            cv2.line(canvas, start, end, _tone(skin, 0.94), int(0.27 * unit), cv2.LINE_AA)
        arm = [(int(middle - 0.42 * unit), int(2.9 * unit)), (int(middle + 0.42 * unit), int(3.9 * unit))]
        cv2.rectangle(canvas, arm[0], arm[1], _tone(skin, 0.86), -1)
        cv2.rectangle(opacity, arm[0], arm[1], 255, -1)
