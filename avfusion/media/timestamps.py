"""Presentation times from packet stamps that may be missing, doubled or reset. Pure arithmetic."""

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
        stamps: (N,) int64, the raw presentation stamp of each frame where every stamp was there and none twice, else
            None.
        shifts: What was added to the stamps before the first reset of the clock (0), after it, after the second …
        warnings: What had to be repaired.
    """

    ticks: np.ndarray
    stamps: np.ndarray | None
    shifts: tuple[float, ...]
    warnings: tuple[str, ...]


class JoinedClock:
    """Finds where the clock of a stream is reset, and moves its times onto one clock without resets.

    Attributes:
        resets: How many there were so far.
    """

    def __init__(self, shifts: Sequence[float] = (0.0,), tolerance: float = REORDERING_S) -> None:
        """Take what to add before the first reset, after it, and so on; all in the unit of the times."""
        self.resets = 0
        self._shifts = shifts
        self._tolerance = tolerance
        self._highest = -np.inf

    def joined(self, time: float) -> float:
        """The next time in order of decoding, moved."""
        if time > self._highest:
            self._highest = time
        elif time < self._highest - self._tolerance:
            self.resets += 1
            self._highest = time
        return time + self._shifts[self.resets if self.resets < len(self._shifts) else -1]


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
    shifts: list[float] = []
    following = 0.0
    for part in parts:
        if np.isfinite(part).all():
            part = np.sort(part)
        known = part[np.isfinite(part)]
        first = known[0] if len(known) else following
        shifts.append(following - first if ordered else 0.0)
        moved = part + shifts[-1]
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
    return Presentation(ticks, ticks.astype(np.int64) if exact else None, tuple(shifts) or (0.0,), tuple(warnings))


def _filled(pts: Sequence[int | None], dts: Sequence[int | None]) -> list[int | None]:
    offsets = [p - d for p, d in zip(pts, dts, strict=True) if p is not None and d is not None]
    offset = int(median(offsets)) if offsets else 0
    return [p if p is not None else (d + offset if d is not None else None) for p, d in zip(pts, dts, strict=True)]


def _split_at_resets(values: np.ndarray, tolerance: float) -> list[np.ndarray]:
    if not len(values):
        return []
    clock = JoinedClock(tolerance=tolerance)
    parts = np.empty(len(values), np.int64)
    for index, value in enumerate(values.tolist()):
        clock.joined(value)
        parts[index] = clock.resets
    return np.split(values, np.flatnonzero(np.diff(parts)) + 1)


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
