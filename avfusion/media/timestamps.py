"""Presentation times from packet stamps that may be missing, doubled or reset. Pure arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from avfusion.runtime.quantities import often

RESET_S = 1.0  # a step back this large is a reset, where no decoding stamp tells it from reordered B-frames


@dataclass(frozen=True)
class Presentation:
    """Frames in presentation order.

    Attributes:
        ticks: (N,) float64, strictly increasing, in units of the stream's time base.
        stamps: (N,) int64, the raw presentation stamp of each frame; None if any was missing or doubled.
        order: (N,) int64, the packet of each frame.
        shifts: Shifts added to the stamps: before the first reset of the clock (0), after it, after the second …
    """

    ticks: np.ndarray
    stamps: np.ndarray | None
    order: np.ndarray
    shifts: tuple[float, ...]
    warnings: tuple[str, ...]


class JoinedClock:
    """Moves times of another stream onto the joined clock, following it through the resets."""

    def __init__(self, shifts_s: Sequence[float]) -> None:
        """Take the video's shifts: before the first reset, after it, and so on."""
        self.resets = 0
        self._shifts_s = shifts_s
        self._highest_s = -np.inf

    def joined(self, time_s: float) -> float:
        """The next time, in decoding order, on the joined clock."""
        if time_s > self._highest_s:
            self._highest_s = time_s
        elif time_s < self._highest_s - self._tolerance_s():
            self.resets += 1
            self._highest_s = time_s
        return time_s + self._shifts_s[min(self.resets, len(self._shifts_s) - 1)]

    def _tolerance_s(self) -> float:
        """Smaller steps back are no resets: at a reset the stream steps back about as far as the video."""
        if self.resets + 1 >= len(self._shifts_s):
            return RESET_S
        step_s = self._shifts_s[self.resets + 1] - self._shifts_s[self.resets]
        return min(RESET_S, step_s / 2) if step_s > 0 else RESET_S


def presentation_order(
    pts: Sequence[int | None], dts: Sequence[int | None], ticks_per_second: float, nominal_step: float
) -> Presentation:
    """Put the stamps of N packets in presentation order; repair missing stamps and stamps that run backwards.

    A missing presentation stamp is derived from the decoding stamp and their usual difference; with neither, and for
    doubled stamps, it is interpolated. After a reset the clock goes on one step after the last frame.

    Args:
        pts: Presentation stamps in decoding order.
        ticks_per_second: Inverse of the time base.
        nominal_step: Ticks between frames if nothing better is known.
    """
    filled = _filled(pts, dts)
    missing = sum(stamp is None for stamp in pts)
    values = np.array([np.nan if stamp is None else stamp for stamp in filled], np.float64)
    parts = np.split(values, _resets(values, dts, RESET_S * ticks_per_second, nominal_step))
    step = _usual_step(parts, nominal_step)
    ordered: list[np.ndarray] = []
    order: list[np.ndarray] = []
    shifts: list[float] = []
    begin, following = 0, 0.0
    for part in parts:
        places = np.argsort(part, kind="stable") if np.isfinite(part).all() else np.arange(len(part))
        order.append(begin + places)
        begin, part = begin + len(part), part[places]
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
        warnings.append(f"the clock steps back {often(len(parts) - 1)}: joined on")
    if doubled > sum(stamp is None for stamp in filled):
        warnings.append(f"{doubled} frames share or precede the time stamp of another: interpolated")
    exact = not missing and len(parts) == 1 and not doubled
    return Presentation(
        ticks,
        ticks.astype(np.int64) if exact else None,
        np.concatenate(order) if order else np.empty(0, np.int64),
        tuple(shifts) or (0.0,),
        tuple(warnings),
    )


def shown_after_delay(stamps: Sequence[int | None], delay: int, step: int) -> list[int | None]:
    """Presentation stamps, in the order of presentation, of N packets that have decoding stamps alone.

    A decoder that reorders gives picture i as it takes packet i + `delay`. The first picture counts as shown at the
    first packet, as players start and as muxers write it; nothing is known of gaps among the last pictures.

    Args:
        stamps: Decoding stamps.
        delay: Number of pictures that the decoder holds back.
        step: Ticks between the last pictures.
    """
    known = [stamp for stamp in stamps if stamp is not None]
    if len(known) < len(stamps) or len(known) <= delay:
        return list(stamps)
    lead = known[delay] - known[0]
    shown = [stamp - lead for stamp in known[delay:]]
    return [*shown, *(shown[-1] + number * step for number in range(1, delay + 1))]


def _filled(pts: Sequence[int | None], dts: Sequence[int | None]) -> list[int | None]:
    offsets = [p - d for p, d in zip(pts, dts, strict=True) if p is not None and d is not None]
    offset = int(median(offsets)) if offsets else 0
    return [p if p is not None else (d + offset if d is not None else None) for p, d in zip(pts, dts, strict=True)]


def _resets(values: np.ndarray, dts: Sequence[int | None], tolerance: float, step: float) -> list[int]:
    """Positions of resets of the clock.

    B-frames have presentation stamps (`values`, NaN: unknown) below earlier ones, at low frame rates by seconds. But
    decoding stamps keep rising among them, and never exceed their own presentation stamps. A single low stamp is
    damage: after a reset the next stamp is low, too.
    """
    found: list[int] = []
    shown = decoded = -np.inf  # highest since the last reset
    decoding = np.array([np.nan if stamp is None else stamp for stamp in dts], np.float64).tolist()
    later = [*decoding[1:], np.nan]
    for index, (value, stamp, following) in enumerate(zip(values.tolist(), decoding, later, strict=False)):
        falls = stamp < decoded - step and value < shown and following < decoded
        if falls or (value < shown - tolerance and not stamp <= value):
            found.append(index)
            shown = decoded = -np.inf
        shown = value if value > shown else shown  # false for NaN
        decoded = stamp if stamp > decoded else decoded
    return found


def _usual_step(parts: list[np.ndarray], nominal: float) -> float:
    steps = np.concatenate([np.diff(np.sort(part[np.isfinite(part)])) for part in parts] or [np.empty(0)])
    steps = steps[steps > 0]
    return float(np.median(steps)) if len(steps) else nominal


def _strictly_increasing(values: np.ndarray, step: float) -> tuple[np.ndarray, int]:
    """Interpolate missing and non-increasing values over the index; also return their number."""
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
