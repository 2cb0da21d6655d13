"""The still parts of a face: shaded skin, ears, hair and beard, painted once per person as a sprite.

The sprite is in canonical face units (see `identity`) times `UNIT` pixels; moving features are painted on a copy of it
(`features`), and the copy is warped into the frame (`scene`).
"""

import cv2
import numpy as np

from avfusion.corpora.demo.identity import Colour, Identity

UNIT = 60.0
"""Pixels of the sprite per interocular distance."""
WIDTH, HEIGHT = 224, 280
ORIGIN = (112.0, 128.0)
"""Pixel of the sprite midway between the eyes."""
_OVERSAMPLING = 3

Sprite = tuple[np.ndarray, np.ndarray]
"""Colours (HEIGHT, WIDTH, 3) uint8 and opacity (HEIGHT, WIDTH) float32 in [0, 1]."""


def paint_head(person: Identity, light: tuple[float, float]) -> Sprite:
    """Paint the still head; `light` is the horizontal and vertical direction it comes from, each in [-1, 1]."""
    canvas = np.zeros((HEIGHT * _OVERSAMPLING, WIDTH * _OVERSAMPLING, 3), np.uint8)
    opacity = np.zeros(canvas.shape[:2], np.uint8)
    skin, hair = person.skin, person.hair
    w = person.face_half_width

    def fill(points: np.ndarray, colour: Colour) -> None:
        pixels = _pixels(points)
        cv2.fillPoly(canvas, [pixels], colour)
        cv2.fillPoly(opacity, [pixels], 255)

    if person.hairstyle in ("long", "bob"):
        low = 2.25 if person.hairstyle == "long" else 1.35
        fill(_rounded(0.0, 0.15, w * 1.24, 1.52, low, 2.6), _shade(hair, 0.82))
    if person.hairstyle == "bun":
        fill(_ellipse(0.0, -1.52, 0.42, 0.36), _shade(hair, 0.9))
    for side in (-1.0, 1.0):
        fill(_ellipse(side * w * 1.0, 0.22, 0.13, 0.27), _shade(skin, 0.86))
    fill(_rounded(0.0, -0.1, w * 1.10, 1.45, 0.05 if person.hairstyle == "bun" else 0.35, 2.3), hair)
    face = _face_outline(person)
    fill(face, skin)
    shaded = _shading(canvas, person, light)
    face_mask = np.zeros(opacity.shape, np.uint8)
    cv2.fillPoly(face_mask, [_pixels(face)], 255)
    canvas[face_mask > 0] = shaded[face_mask > 0]
    _hair_front(canvas, opacity, person, face_mask)
    size = (WIDTH, HEIGHT)
    colours = cv2.resize(canvas, size, interpolation=cv2.INTER_AREA)
    # Under the soft rim the opacity fades, but the colour must not fade to black.
    covered = cv2.resize(opacity, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255.0
    rim = np.maximum(covered, 1e-3)[..., None]
    colours = np.clip(colours / rim, 0, 255).astype(np.uint8)
    return colours, cv2.GaussianBlur(covered, (3, 3), 0.6)


def _pixels(points: np.ndarray) -> np.ndarray:
    scaled = (points * UNIT + np.array(ORIGIN)) * _OVERSAMPLING
    return np.round(scaled).astype(np.int32)


def _ellipse(x: float, y: float, a: float, b: float) -> np.ndarray:
    angle = np.linspace(0.0, 2.0 * np.pi, 60, endpoint=False)
    return np.stack([x + a * np.cos(angle), y + b * np.sin(angle)], axis=1)


def _rounded(x: float, y: float, half_width: float, up: float, down: float, power: float) -> np.ndarray:
    """Return a superellipse with different extents upwards and downwards."""
    angle = np.linspace(0.0, 2.0 * np.pi, 90, endpoint=False)
    cos, sin = np.cos(angle), np.sin(angle)
    horizontal = np.sign(cos) * np.abs(cos) ** (2.0 / power)
    vertical = np.sign(sin) * np.abs(sin) ** (2.0 / power)
    return np.stack([x + half_width * horizontal, y + np.where(vertical > 0, down, up) * vertical], axis=1)


def _face_outline(person: Identity) -> np.ndarray:
    """Return the contour from the forehead round the jaw: an ellipse above, a tapered curve below."""
    angle = np.linspace(0.0, 2.0 * np.pi, 120, endpoint=False)
    cos, sin = np.cos(angle), np.sin(angle)
    taper = 1.0 - (1.0 - person.jaw) * np.clip(sin, 0.0, 1.0) ** 1.6
    x = person.face_half_width * np.sign(cos) * np.abs(cos) ** 0.85 * taper
    y = np.where(sin > 0, 0.15 + (person.chin - 0.15) * np.abs(sin) ** 0.95, 0.15 - 1.42 * np.abs(sin))
    return np.stack([x, y], axis=1)


def _shading(canvas: np.ndarray, person: Identity, light: tuple[float, float]) -> np.ndarray:
    """Return `canvas` with soft light on a rounded head, eye sockets, cheeks and stubble."""
    height, width = canvas.shape[:2]
    step = 4
    xs = (np.arange(0, width, step) / _OVERSAMPLING - ORIGIN[0]) / UNIT
    ys = (np.arange(0, height, step) / _OVERSAMPLING - ORIGIN[1]) / UNIT
    x, y = np.meshgrid(xs, ys)
    nx, ny = x / (person.face_half_width * 1.08), (y - 0.3) / 1.75
    nz = np.sqrt(np.clip(1.0 - nx**2 - ny**2, 0.0, 1.0))
    glow = 0.80 + 0.22 * nz + 0.10 * light[0] * nx + 0.08 * light[1] * ny

    def spot(cx: float, cy: float, sx: float, sy: float) -> np.ndarray:
        return np.exp(-(((x - cx) / sx) ** 2) - ((y - cy) / sy) ** 2)

    glow -= 0.10 * (spot(-0.5, -0.04, 0.36, 0.20) + spot(0.5, -0.04, 0.36, 0.20))
    glow += 0.05 * spot(0.0, -0.75, 0.6, 0.35) - 0.10 * spot(0.0, person.mouth_y + 0.27, 0.28, 0.07)
    glow += 0.05 * spot(0.0, person.chin - 0.25, 0.25, 0.15)
    blush = 0.10 * (spot(-0.68, 0.68, 0.3, 0.24) + spot(0.68, 0.68, 0.3, 0.24))
    coarse = np.stack([glow - 0.6 * blush, glow - 0.7 * blush, glow + 0.15 * blush], axis=2).astype(np.float32)
    tint = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    shaded = canvas.astype(np.float32) * tint
    if person.beard:
        zone = np.clip((y - 0.62 - 0.25 * np.cos(2.2 * x)) / 0.28, 0.0, 1.0)
        zone *= 1.0 - 0.85 * spot(0.0, person.mouth_y, 0.42, 0.13)
        share = cv2.resize((person.beard * zone).astype(np.float32), (width, height))[..., None]
        shaded = shaded * (1.0 - share) + np.array(_shade(person.hair, 0.95), np.float32) * share
    return np.clip(shaded, 0, 255).astype(np.uint8)


def _hair_front(canvas: np.ndarray, opacity: np.ndarray, person: Identity, face_mask: np.ndarray) -> None:
    """Paint hairline, fringe or cropped hair over the forehead, with a few lighter strands."""
    w = person.face_half_width
    t = np.linspace(-1.0, 1.0, 41)
    parts = {"short": -0.88, "side": -0.80, "bob": -0.74, "long": -0.84, "bun": -0.90, "cropped": -1.0}
    line = parts[person.hairstyle] + 0.34 * np.abs(t) ** 3.0
    if person.hairstyle == "side":
        line += 0.16 * np.clip(t + 0.3, 0.0, 1.0) - 0.10 * np.exp(-(((t + 0.45) / 0.16) ** 2))
    if person.hairstyle in ("bob", "long"):
        line = line - 0.16 * np.exp(-((t / 0.35) ** 2)) + 0.45 * np.clip(np.abs(t) - 0.72, 0.0, 1.0)
    lower = np.stack([t * w * 1.09, line], axis=1)
    top = 1.42 if person.hairstyle == "cropped" else 1.55
    upper = np.stack([t[::-1] * w * 1.12, 0.12 - top * np.sqrt(np.clip(1.0 - (0.97 * t[::-1]) ** 2, 0.0, 1.0))], axis=1)
    front = np.concatenate([lower, upper])
    pixels = _pixels(front)
    colour = _mix(person.hair, person.skin, 0.35 if person.hairstyle == "cropped" else 0.0)
    cv2.fillPoly(canvas, [pixels], colour)
    cv2.fillPoly(opacity, [pixels], 255)
    strands = np.random.default_rng(int(1e6 * person.chin))
    for _ in range(26):
        start, bend = strands.uniform(-0.95, 0.95), strands.normal(0.0, 0.1)
        s = np.linspace(0.0, 1.0, 9)
        i = int(np.clip((start + 1.0) * 20, 0, 40))
        y = (line[i] - 0.04) * (1 - s) + (0.18 - 0.98 * top * np.sqrt(1.0 - (0.9 * start) ** 2)) * s
        path = _pixels(np.stack([start * w * (1.05 - 0.1 * s) + bend * s * (1 - s), y], axis=1))
        tone = _shade(colour, float(strands.uniform(0.86, 1.22)))
        cv2.polylines(canvas, [path], False, tone, _OVERSAMPLING, cv2.LINE_AA)


def _mix(first: Colour, second: Colour, share: float) -> Colour:
    blue, green, red = (a * (1.0 - share) + b * share for a, b in zip(first, second, strict=True))
    return blue, green, red


def _shade(colour: Colour, factor: float) -> Colour:
    blue, green, red = (min(255.0, channel * factor) for channel in colour)
    return blue, green, red
