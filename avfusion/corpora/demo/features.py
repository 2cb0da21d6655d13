"""The moving parts of a face: brows, eyes, nose, mouth and the folds of a smile, painted on the head sprite.

Expression parameters are about ±1 around a neutral 0; `mouth_opening` and `eyelids` are 0 (closed) to 1. Depth makes
the features slide over the head when it turns, as on a turned head of this size.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from avfusion.corpora.demo.head import ORIGIN, UNIT
from avfusion.corpora.demo.identity import Colour, Identity

_SHIFT = 4
_DEPTH = {"eye": 0.62, "brow": 0.68, "nose": 0.98, "mouth": 0.72, "fold": 0.66}
"""Distance in front of the head's axis, in interocular units."""


_LANDMARK_RISE = 0.045
"""Detectors find nose tip and mouth corners this far above their painted positions; crops follow detectors."""


@dataclass(frozen=True)
class Expression:
    """What the face does in one frame."""

    smile: float
    brow_tilt: float
    brow_height: float
    eye_opening: float
    mouth_opening: float
    eyelids: float
    gaze: tuple[float, float]
    yaw: float
    pitch: float


def paint_features(canvas: np.ndarray, person: Identity, face: Expression) -> np.ndarray:
    """Paint the moving features on `canvas` (H, W, 3) uint8 in place.

    Returns:
        Five landmarks (5, 2) in sprite pixels: left and right eye in the picture, nose tip, corners of the mouth.
    """
    _folds(canvas, person, face)
    _nose(canvas, person, face)
    for side in (-1.0, 1.0):
        _eye(canvas, person, face, side)
        _brow(canvas, person, face, side)
    corners = _mouth(canvas, person, face)
    if person.glasses:
        _glasses(canvas, face)
    tip = _place(np.array([[0.0, person.nose_length - _LANDMARK_RISE]]), face, "nose")
    eyes = _place(np.array([[-0.5, 0.0], [0.5, 0.0]]), face, "eye")
    return np.concatenate([eyes, tip, corners - [0.0, _LANDMARK_RISE * UNIT]])


def _place(points: np.ndarray, face: Expression, part: str) -> np.ndarray:
    """Turn face units (N, 2) into sprite pixels, with the head's yaw and pitch (radians)."""
    depth = _DEPTH[part]
    x = points[:, 0] * np.cos(face.yaw) + depth * np.sin(face.yaw)
    y = points[:, 1] * np.cos(face.pitch) + depth * np.sin(face.pitch)
    return np.stack([x * UNIT + ORIGIN[0], y * UNIT + ORIGIN[1]], axis=1)


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.round(points * (1 << _SHIFT)).astype(np.int32)


def _fill(canvas: np.ndarray, points: np.ndarray, colour: Colour) -> None:
    cv2.fillPoly(canvas, [_fixed(points)], colour, cv2.LINE_AA, _SHIFT)


def _line(canvas: np.ndarray, points: np.ndarray, colour: Colour, thickness: int = 1) -> None:
    cv2.polylines(canvas, [_fixed(points)], False, colour, thickness, cv2.LINE_AA, _SHIFT)


def _mix(first: Colour, second: Colour, share: float) -> Colour:
    share = min(1.0, max(0.0, share))
    blue, green, red = (a * (1.0 - share) + b * share for a, b in zip(first, second, strict=True))
    return blue, green, red


def _shade(colour: Colour, factor: float) -> Colour:
    blue, green, red = (min(255.0, channel * factor) for channel in colour)
    return blue, green, red


_ARC = np.linspace(0.0, np.pi, 15)
_COS, _SIN = -np.cos(_ARC), np.sin(_ARC)
_BROW = np.linspace(0.0, 1.0, 9)
_LIP = np.linspace(-1.0, 1.0, 17)
_BOW = 1.0 - _LIP**2


def _eye(canvas: np.ndarray, person: Identity, face: Expression, side: float) -> None:
    width = person.eye_half_width
    opening = person.eye_half_height * (1.0 + 0.52 * face.eye_opening) * face.eyelids
    squint = 0.10 * max(0.0, face.smile)
    upper = _place(np.stack([side * 0.5 + width * _COS, 0.02 - 1.15 * opening * _SIN], 1), face, "eye")
    lower = _place(np.stack([side * 0.5 + width * _COS, 0.02 + (0.85 - squint) * opening * _SIN], 1), face, "eye")
    crease = upper - np.array([0.0, 0.055 * UNIT])
    _fill(canvas, np.concatenate([crease, upper[::-1]]), _shade(person.skin, 0.80))
    if opening > 0.015:
        _eyeball(canvas, person, face, side, np.concatenate([upper, lower[::-1]]))
    dark = _mix(person.hair, (18.0, 18.0, 22.0), 0.7)
    _line(canvas, upper, dark, 2)
    _line(canvas, lower[2:-2], _shade(person.skin, 0.62))


def _eyeball(canvas: np.ndarray, person: Identity, face: Expression, side: float, outline: np.ndarray) -> None:
    """Paint white, iris and pupil on a patch, cut to the opening between the lids."""
    left, top = np.floor(outline.min(axis=0)).astype(int) - 2
    right, bottom = np.ceil(outline.max(axis=0)).astype(int) + 3
    patch = canvas[top:bottom, left:right]
    eye = np.empty_like(patch)
    eye[:] = (222, 226, 232)
    gaze = np.array([[side * 0.5 + 0.06 * face.gaze[0], 0.01 + 0.03 * face.gaze[1]]])
    centre = _fixed(_place(gaze, face, "eye")[0] - (left, top))
    centre_x, centre_y = int(centre[0]), int(centre[1])
    unit = int(UNIT * (1 << _SHIFT))
    cv2.circle(eye, (centre_x, centre_y), int(0.112 * unit), _shade(person.iris, 0.6), -1, cv2.LINE_AA, _SHIFT)
    cv2.circle(eye, (centre_x, centre_y), int(0.092 * unit), person.iris, -1, cv2.LINE_AA, _SHIFT)
    cv2.circle(eye, (centre_x, centre_y), int(0.048 * unit), (16, 14, 14), -1, cv2.LINE_AA, _SHIFT)
    glint = (centre_x - int(0.03 * unit), centre_y - int(0.035 * unit))
    cv2.circle(eye, glint, int(0.022 * unit), (245, 245, 245), -1, cv2.LINE_AA, _SHIFT)
    mask = np.zeros(patch.shape[:2], np.uint8)
    cv2.fillPoly(mask, [_fixed(outline - (left, top))], 255, cv2.LINE_AA, _SHIFT)
    share = mask[..., None].astype(np.uint16)
    patch[:] = ((eye * share + patch * (255 - share)) // 255).astype(np.uint8)


def _brow(canvas: np.ndarray, person: Identity, face: Expression, side: float) -> None:
    outer_to_inner = _BROW
    x = side * (0.86 - 0.62 * outer_to_inner)
    raised = -0.315 - 0.085 * face.brow_height
    arch = -0.075 * np.sin(np.pi * (0.15 + 0.75 * outer_to_inner))
    tilt = 0.125 * face.brow_tilt * (outer_to_inner - 0.35)
    middle = raised + arch + tilt
    half = person.brow_thickness * (0.25 + 0.75 * np.sin(0.5 * np.pi * outer_to_inner) ** 0.7) * 0.5
    top = _place(np.stack([x, middle - half], 1), face, "brow")
    bottom = _place(np.stack([x, middle + half], 1), face, "brow")
    _fill(canvas, np.concatenate([top, bottom[::-1]]), _mix(_shade(person.hair, 0.75), person.skin, 0.12))


def _nose(canvas: np.ndarray, person: Identity, face: Expression) -> None:
    width, length = person.nose_half_width, person.nose_length
    shadow = _shade(person.skin, 0.84)
    side = 1.0 if face.yaw < 0 else -1.0
    bridge = np.array([[side * 0.10, 0.05], [side * 0.09, 0.3], [side * width * 0.85, length - 0.06]])
    _line(canvas, _place(bridge, face, "nose") - [[side * 0.0, 0.0]], shadow, 2)
    for wing in (-1.0, 1.0):
        around = np.stack([wing * (width - 0.05 + 0.05 * _SIN), length + 0.09 * _COS], 1)
        _line(canvas, _place(around, face, "nose"), _shade(person.skin, 0.74), 2)
        nostril = np.stack([wing * 0.095 + 0.055 * _COS, length + 0.085 - 0.03 * _SIN], 1)
        _fill(canvas, _place(nostril, face, "nose"), _shade(person.skin, 0.48))
    tip = np.array([[-0.04, length - 0.10], [0.03, length - 0.10]])
    _line(canvas, _place(tip, face, "nose"), _mix(person.skin, (255.0, 255.0, 255.0), 0.35), 3)


def _folds(canvas: np.ndarray, person: Identity, face: Expression) -> None:
    """Paint cheek folds that deepen with a smile and a furrow between lowered brows."""
    depth = min(1.0, max(0.0, 0.25 + 0.55 * face.smile))
    tone = _mix(_shade(person.skin, 0.93), _shade(person.skin, 0.70), depth)
    bulge = 0.06 * face.smile
    for side in (-1.0, 1.0):
        fold = np.array([[0.27, 0.66], [0.45 + bulge, 0.83], [0.56 + bulge, 1.02 - 0.05 * face.smile]]) * [side, 1.0]
        _line(canvas, _place(fold, face, "fold"), tone, 2)
    if face.brow_tilt > 0.2:
        tone = _mix(_shade(person.skin, 0.93), _shade(person.skin, 0.66), face.brow_tilt)
        for side in (-1.0, 1.0):
            furrow = np.array([[0.07, -0.34], [0.06, -0.20]]) * [side, 1.0]
            _line(canvas, _place(furrow, face, "fold"), tone, 2)


def _mouth(canvas: np.ndarray, person: Identity, face: Expression) -> np.ndarray:
    """Paint the lips and the mouth between them; return the corners (2, 2) in sprite pixels."""
    half = person.mouth_half_width * (1.0 + 0.17 * face.smile)
    lift = 0.155 * face.smile
    opening = 0.30 * face.mouth_opening
    x = half * _LIP
    curve = person.mouth_y + 0.35 * lift - lift * np.abs(_LIP) ** 2.2
    thick = person.lip_thickness
    upper_inner = curve - 0.30 * opening * _BOW
    lower_inner = curve + 0.70 * opening * _BOW
    dip = 1.0 - 0.22 * np.exp(-((_LIP / 0.16) ** 2))
    upper_outer = upper_inner - thick * dip * _BOW**0.75
    lower_outer = lower_inner + 1.25 * thick * _BOW**0.75

    def line(y: np.ndarray) -> np.ndarray:
        return _place(np.stack([x, y], 1), face, "mouth")

    lip = _mix(_shade(person.skin, 0.80), (88.0, 82.0, 176.0), person.lip_redness)
    outer = np.concatenate([line(upper_outer), line(lower_outer)[::-1]])
    _fill(canvas, outer, lip)
    inner_top, inner_bottom = line(upper_inner), line(lower_inner)
    if opening > 0.02:
        _fill(canvas, np.concatenate([inner_top, inner_bottom[::-1]]), (38.0, 30.0, 66.0))
        teeth = np.minimum(upper_inner + 0.30 * opening + 0.02, 0.4 * upper_inner + 0.6 * lower_inner)
        _fill(canvas, np.concatenate([inner_top[2:-2], line(teeth)[-3:1:-1]]), (214.0, 220.0, 226.0))
    else:
        _line(canvas, inner_top, _shade(lip, 0.55), 2)
    return np.stack([inner_top[0], inner_top[-1]])


def _glasses(canvas: np.ndarray, face: Expression) -> None:
    frame = (78.0, 74.0, 72.0)
    angle = np.linspace(0.0, 2.0 * np.pi, 29)
    for side in (-1.0, 1.0):
        rim = np.stack([side * 0.5 + 0.36 * np.cos(angle), 0.04 + 0.27 * np.sin(angle)], 1)
        _line(canvas, _place(rim, face, "brow"), frame)
    _line(canvas, _place(np.array([[-0.14, 0.0], [0.0, -0.04], [0.14, 0.0]]), face, "brow"), frame)
