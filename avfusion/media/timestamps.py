"""Presentation times of frames from packet stamps that may be missing, doubled or reset. Pure arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

REORDERING_S = 1.0  # B-frames come out of order by less; a larger step back is a reset clock


@dataclass(frozen=True)
class Presentation:
    """Frames in presentation order.

    Attributes:
        ticks: (N,) float64, strictly increasing, in units of the stream's time base.
        stamps: The raw presentation stamp of each frame where every stamp was there and none twice, else None.
        warnings: What had to be repaired.
    """

    ticks: np.ndarray
    stamps: list[int] | None
    warnings: tuple[str, ...]


def presentation_order(
    pts: Sequence[int | None], dts: Sequence[int | None], ticks_per_second: float, nominal_step: float
) -> Presentation:
    """Order the stamps of N packets as their frames are shown, and repair what is missing or runs backwards.

    A missing presentation stamp is taken from the decoding stamp, moved by their usual difference; one that is
    missing altogether, and doubles, are interpolated; after a reset the clock goes on one step after the last frame.

    Args:
        pts: Presentation stamps in decoding order.
        dts: Decoding stamps.
        ticks_per_second: Inverse of the time base.
        nominal_step: Ticks between frames where nothing better is known.
    """
    filled = _filled(pts, dts)
    missing = sum(stamp is None for stamp in pts)
    values = np.array([np.nan if stamp is None else stamp for stamp in filled], np.float64)
    parts = _split_at_resets(values, REORDERING_S * ticks_per_second)
    step = _usual_step(parts, nominal_step)
    ordered: list[np.ndarray] = []
    following = 0.0
    for part in parts:
        if np.isfinite(part).all():
            part = np.sort(part)
        known = part[np.isfinite(part)]
        first = known[0] if len(known) else following
        moved = part - first + following if ordered else part
        ordered.append(moved)
        finite = moved[np.isfinite(moved)]
        following = (finite.max() if len(finite) else following) + step
    joined = np.concatenate(ordered) if ordered else np.empty(0)
    ticks, doubled = _strictly_increasing(joined, step)
    warnings = []
    if missing:
        warnings.append(f"{missing} of {len(pts)} frames have no time stamp: filled in")
    if len(parts) > 1:
        warnings.append(f"the clock steps back {len(parts) - 1} times: joined on")
    if doubled > sum(stamp is None for stamp in filled):
        warnings.append(f"{doubled} frames share or precede the time stamp of another: interpolated")
    exact = not missing and len(parts) == 1 and not doubled
    return Presentation(ticks, [int(tick) for tick in ticks] if exact else None, tuple(warnings))


def _filled(pts: Sequence[int | None], dts: Sequence[int | None]) -> list[int | None]:
    offsets = [p - d for p, d in zip(pts, dts, strict=True) if p is not None and d is not None]
    offset = int(median(offsets)) if offsets else 0
    return [p if p is not None else (d + offset if d is not None else None) for p, d in zip(pts, dts, strict=True)]


def _split_at_resets(values: np.ndarray, tolerance: float) -> list[np.ndarray]:
    if not len(values):
        return []
    cuts, highest = [], -np.inf
    for index, value in enumerate(values):
        if value < highest - tolerance:
            cuts.append(index)
            highest = value
        elif value > highest:
            highest = value
    return np.split(values, cuts)


def _usual_step(parts: list[np.ndarray], nominal: float) -> float:
    steps = np.concatenate([np.diff(np.sort(part[np.isfinite(part)])) for part in parts] or [np.empty(0)])
    steps = steps[steps > 0]
    return float(np.median(steps)) if len(steps) else nominal


def _strictly_increasing(values: np.ndarray, step: float) -> tuple[np.ndarray, int]:
    """Replace what is missing or not above all before it, by interpolation over the index; and how many that were."""
    known = np.where(np.isfinite(values), values, -np.inf)
    before = np.concatenate([[-np.inf], np.maximum.accumulate(known)[:-1]]) if len(values) else known
    good = np.flatnonzero(known > before)
    index = np.arange(len(values), dtype=np.float64)
    if not len(good):
        return index * step, len(values)
    result = np.interp(index, good, values[good])
    head, tail = index < good[0], index > good[-1]
    result[head] = values[good[0]] - step * (good[0] - index[head])
    result[tail] = values[good[-1]] + step * (index[tail] - good[-1])
    return result, len(values) - len(good)
