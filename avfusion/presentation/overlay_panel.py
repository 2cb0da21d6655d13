"""The panel of an overlay: the valence-arousal plane, both traces, time, and the streams present.

The panel lies below a wide picture and beside a narrow one, so it never hides a face.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    import pandas as pd

Colour = tuple[int, int, int]
Point = tuple[float, float]

GROUND: Colour = (20, 23, 28)
PLOT: Colour = (33, 37, 44)
LINE: Colour = (74, 81, 91)
WORDS: Colour = (172, 180, 190)
BRIGHT: Colour = (240, 243, 246)
TARGETS: dict[str, Colour] = {"valence": (86, 180, 233), "arousal": (255, 140, 66)}
STREAMS: dict[str, tuple[str, Colour]] = {
    "visual_present": ("face", (64, 200, 150)),
    "audio_present": ("sound", (214, 140, 180)),
}

LONGEST, SHORTEST = 1280, 360  # limits for a picture's longer and shorter side
WIDE = 1.25  # width over height from which the panel lies below the picture
TRACE_S, TRAIL_S = 10.0, 1.5
WEIGHT = 500  # of the letters
_SUBPIXEL = 4  # binary digits behind the point


@dataclass(frozen=True)
class Layout:
    """Positions on the canvas in pixels; all sides are even, as H.264 requires.

    Attributes:
        unit: Unit of lengths and fonts: one pixel in a picture 640 pixels wide.
    """

    size: tuple[int, int]
    picture: tuple[int, int, int, int]
    panel: tuple[int, int, int, int]
    below: bool
    unit: float


def plan_layout(width: int, height: int) -> Layout:
    """Place the panel and an upright picture of this size, scaled if it is too large or too small to read."""
    scale = min(LONGEST / max(width, height), max(1.0, SHORTEST / min(width, height)))
    wide, high = _even(width * scale), _even(height * scale)
    if wide >= WIDE * high:
        panel_high = _even(wide / 4)
        return Layout((wide, high + panel_high), (0, 0, wide, high), (0, high, wide, panel_high), True, wide / 640)
    panel_wide = _even(max(0.75 * min(wide, high), 0.75 * SHORTEST, high / 3))
    return Layout((wide + panel_wide, high), (0, 0, wide, high), (wide, 0, panel_wide, high), False, panel_wide / 270)


class Panel:
    """Draws the panel of one video, frame by frame; constant parts are drawn once."""

    def __init__(self, layout: Layout, predictions: "pd.DataFrame") -> None:
        """Take the predictions of all frames (the CSV's columns)."""
        self._u = layout.unit
        self._font = cv2.FontFace("sans")
        self._time_s = predictions["time_s"].to_numpy(float)
        self._values = {name: predictions[name].to_numpy(float) for name in TARGETS}
        self._present = {name: predictions[name].to_numpy(bool) for name in STREAMS}
        _, _, width, height = layout.panel
        self._below = layout.below
        self._place(width, height)
        self._ground = np.full((height, width, 3), GROUND, np.uint8)
        self._draw_ground()

    def draw(self, image: np.ndarray, index: int) -> None:
        """Fill `image` (the panel's part of the canvas, RGB) for the frame with this 0-based index."""
        image[:] = self._ground
        self._draw_trail(image, index, self._values, BRIGHT)
        for name, colour in TARGETS.items():
            values = self._values[name]
            self._draw_curve(image, index, name, values, colour)
            self._text(image, self._readings[name], signed(float(values[index])), 17, colour, right=True)
        self._draw_foot(image, index)

    def _draw_curve(self, image: np.ndarray, index: int, name: str, values: np.ndarray, colour: Colour) -> None:
        """The last seconds of a target's values (N,)."""
        now = self._time_s[index]
        first = int(np.searchsorted(self._time_s, now - TRACE_S))
        left, top, right, bottom = self._plots[name]
        x = right + (self._time_s[first : index + 1] - now) / TRACE_S * (right - left)
        y = (top + bottom) / 2 - values[first : index + 1] * (bottom - top) / 2
        thick = max(1, round(1.6 * self._u))
        for line in _drawn(np.stack([x, y], axis=1)):
            cv2.polylines(image, [_fixed(line)], False, colour, thick, cv2.LINE_AA, _SUBPIXEL)
        if np.isfinite(y[-1]):
            self._dot(image, (right, float(y[-1])), 3, colour)

    def _draw_foot(self, image: np.ndarray, index: int) -> None:
        for name, (at, colour) in self._lamps.items():
            lit = bool(self._present[name][index])
            self._dot(image, at, 3.5, colour if lit else PLOT)
        self._text(image, self._clock, clock(float(self._time_s[index])), 15, BRIGHT, right=True)

    def _place(self, width: int, height: int) -> None:
        u = self._u
        if self._below:
            self._radius = (height - 36 * u) / 2
            self._centre = 26 * u + self._radius, 10 * u + self._radius
            left, right = self._centre[0] + self._radius + 26 * u, width - 76 * u
            foot = height - 26 * u
            rows = [(10 * u, foot / 2 - u), (foot / 2 + 5 * u, foot)]
            column = width - 12 * u
            self._readings = {name: (column, top + 38 * u) for name, (top, _) in zip(TARGETS, rows, strict=True)}
            self._names = {name: (column, top + 17 * u) for name, (top, _) in zip(TARGETS, rows, strict=True)}
        else:
            left, right = 14 * u, width - 14 * u
            self._radius = min((width - 60 * u) / 2, (height * 0.55 - 40 * u) / 2)
            self._centre = width / 2 + 6 * u, 12 * u + self._radius
            head, foot = 2 * self._radius + 42 * u, height - 30 * u
            each = min((foot - head) / 2, 200 * u)
            rows = [(head + i * each + 20 * u, head + (i + 1) * each - 6 * u) for i in range(2)]
            foot = rows[1][1]
            self._readings = {name: (right, top - 5 * u) for name, (top, _) in zip(TARGETS, rows, strict=True)}
            self._names = {name: (left, top - 5 * u) for name, (top, _) in zip(TARGETS, rows, strict=True)}
        self._plots = {n: (left, top, right, bottom) for n, (top, bottom) in zip(TARGETS, rows, strict=True)}
        base = foot + 18 * u
        self._clock = (width - (12 if self._below else 14) * u, base)
        self._lamps: dict[str, tuple[Point, Colour]] = {}
        at = left + 4 * u
        for name, (title, colour) in STREAMS.items():
            self._lamps[name] = (at, base - 4 * u), colour
            at += (22 + 7 * len(title)) * u

    def _draw_ground(self) -> None:
        image, u = self._ground, self._u
        (x, y), r = self._centre, self._radius
        self._upright_words(image, (x - r - 20 * u, y), "arousal", 12, TARGETS["arousal"])
        cv2.circle(image, *_circle((x, y), r), PLOT, -1, cv2.LINE_AA, _SUBPIXEL)
        cv2.circle(image, *_circle((x, y), r), LINE, max(1, round(u)), cv2.LINE_AA, _SUBPIXEL)
        self._line(image, (x - r, y), (x + r, y))
        self._line(image, (x, y - r), (x, y + r))
        self._text(image, (x, y + r + 15 * u), "valence", 12, TARGETS["valence"], centre=True)
        for sign, side in (("–", -1), ("+", 1)):
            self._text(image, (x + side * (r - 4 * u), y + r + 15 * u), sign, 12, TARGETS["valence"], centre=True)
        for sign, side in (("–", 1), ("+", -1)):
            self._text(
                image, (x - r - 12 * u, y + side * (r - 4 * u) + 4 * u), sign, 12, TARGETS["arousal"], centre=True
            )
        for name, (left, top, right, bottom) in self._plots.items():
            cv2.rectangle(image, _whole((left, top)), _whole((right, bottom)), PLOT, -1)
            self._line(image, (left, (top + bottom) / 2), (right, (top + bottom) / 2))
            self._text(image, self._names[name], name, 13, TARGETS[name], right=self._below)
        for name, (at, colour) in self._lamps.items():
            self._dot(image, at, 4.5, colour)
            self._text(image, (at[0] + 9 * u, at[1] + 4 * u), STREAMS[name][0], 12, WORDS)
        if self._below:
            left, _, right, bottom = self._plots["arousal"]
            self._text(image, (right, bottom + 18 * u), f"last {TRACE_S:.0f} s", 12, WORDS, right=True)

    def _draw_trail(self, image: np.ndarray, index: int, values: dict[str, np.ndarray], bright: Colour) -> None:
        """The point in the plane, and where it was in the last seconds."""
        now, (x, y), r = self._time_s[index], self._centre, self._radius
        first = int(np.searchsorted(self._time_s, now - TRAIL_S))
        points = np.stack(
            [x + r * values["valence"][first : index + 1], y - r * values["arousal"][first : index + 1]], axis=1
        )
        known = np.asarray(np.isfinite(points).all(axis=1))
        ages = (now - self._time_s[first : index + 1]) / TRAIL_S
        fixed = _fixed(np.where(known[:, None], points, 0))
        thick = max(1, round(2 * self._u))
        for step in np.flatnonzero(known[1:] & known[:-1]):
            share = 1 - ages[step + 1]
            colour = [round(p + (b - p) * share) for p, b in zip(PLOT, bright, strict=True)]
            cv2.line(image, fixed[step].tolist(), fixed[step + 1].tolist(), colour, thick, cv2.LINE_AA, _SUBPIXEL)
        if known[-1]:
            self._dot(image, tuple(points[-1]), 5, bright)

    def _dot(self, image: np.ndarray, at: Point, radius: float, colour: Colour) -> None:
        cv2.circle(image, *_circle(at, radius * self._u), colour, -1, cv2.LINE_AA, _SUBPIXEL)

    def _line(self, image: np.ndarray, start: Point, end: Point) -> None:
        cv2.line(image, _whole(start), _whole(end), LINE, max(1, round(self._u / 2)))

    def _text(
        self,
        image: np.ndarray,
        at: Point,
        text: str,
        size: float,
        colour: Colour,
        *,
        right: bool = False,
        centre: bool = False,
    ) -> None:
        """Write `text` on the baseline of `at`, which is its left end, right end or middle."""
        pixels = max(8, round(size * self._u))
        if centre:  # OpenCV 5.0 treats PUT_TEXT_ALIGN_CENTER as left
            _, _, width, _ = cv2.getTextSize(image.shape[1::-1], text, (0, 0), self._font, pixels, WEIGHT)
            at = at[0] - width / 2, at[1]
        side = cv2.PUT_TEXT_ALIGN_RIGHT if right else cv2.PUT_TEXT_ALIGN_LEFT
        cv2.putText(image, text, _whole(at), colour, self._font, pixels, WEIGHT, side)

    def _upright_words(self, image: np.ndarray, at: Point, text: str, size: float, colour: Colour) -> None:
        """Write `text` upwards, its middle at `at`."""
        height, width = round(1.6 * size * self._u), round(size * self._u * len(text))
        words = np.full((height, width, 3), GROUND, np.uint8)
        self._text(words, (width / 2, 0.72 * height), text, size, colour, centre=True)
        words = np.rot90(words)
        left, top = round(at[0]), round(at[1] - width / 2)
        left = max(0, left)
        image[top : top + width, left : left + height] = words


def signed(value: float) -> str:
    """A value with its sign and two decimals, a true minus; a dash for an unknown one."""
    if np.isnan(value):
        return "–"
    return f"{round(value, 2) + 0.0:+.2f}".replace("-", "–")  # + 0.0: never a minus before zero


def clock(time_s: float) -> str:
    """`m:ss.t`, or `h:mm:ss.t`."""
    tenths = int(time_s * 10 + 1e-6)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest // 10:02d}.{rest % 10}"
    return f"{hours}:{minutes:02d}:{seconds}" if hours else f"{minutes}:{seconds}"


def _drawn(line: np.ndarray) -> list[np.ndarray]:
    """The pieces of a line (N, 2) between points that are not finite."""
    known = np.isfinite(line).all(axis=1)
    pieces = np.split(line, np.flatnonzero(np.diff(known)) + 1)
    return [piece for piece in pieces if np.isfinite(piece).all()]


def _even(length: float) -> int:
    return max(2, 2 * round(length / 2))


def _whole(at: Point) -> tuple[int, int]:
    return round(at[0]), round(at[1])


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.rint(points * (1 << _SUBPIXEL)).astype(np.int32)


def _circle(at: Point, radius: float) -> tuple[tuple[int, int], int]:
    scale = 1 << _SUBPIXEL
    return (round(at[0] * scale), round(at[1] * scale)), round(radius * scale)
