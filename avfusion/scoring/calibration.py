"""Calibrated values and their bands, fitted on videos that a training did not train on.

A network trained to a high CCC spreads its values as widely as the labels, although it explains a part of them: the
labels that go with a value lie nearer to the mean than the value does, by a factor of about its correlation with them.
The calibrated value is the mean label that goes with a value, on a straight line; a band around it holds a share of the
labels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from avfusion.scoring.track_predictions import TARGETS

LEVEL = 0.8
NUMBERS = ("slope", "offset", "half_width")
SPLITS = {"inner": "stopping", "validation": "validation"}


@dataclass(frozen=True)
class Calibration:
    """Lines and bands of both targets.

    Attributes:
        slope, offset: of valence and arousal; the calibrated value is `offset + slope * value`.
        half_width: of the bands of valence and arousal.
        groups: of videos that they were fitted on.
        split: `inner` or `validation`: which videos these were.
        level: share of the frames of a new video whose labels a band holds, on average over videos.
    """

    slope: tuple[float, float]
    offset: tuple[float, float]
    half_width: tuple[float, float]
    groups: int
    split: str
    level: float = LEVEL

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Calibrated values of (N, 2) in [-1, 1]; NaN stays."""
        return np.clip(np.asarray(self.offset) + np.asarray(self.slope) * values, -1, 1).astype(values.dtype)

    def band(self, calibrated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends (N, 2) of the bands around calibrated values, within [-1, 1]."""
        width = np.asarray(self.half_width)
        low, high = np.clip(calibrated - width, -1, 1), np.clip(calibrated + width, -1, 1)
        return low.astype(calibrated.dtype), high.astype(calibrated.dtype)

    def words(self) -> str:
        """The calibration for people."""
        lines = ", ".join(
            f"{target} {a:+.3f} {b:+.3f} × value ± {w:.2f}"
            for target, a, b, w in zip(TARGETS, self.offset, self.slope, self.half_width, strict=True)
        )
        return f"{lines}; {self.level:.0%} bands, fitted on {self.groups} {SPLITS[self.split]} videos"

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        numbers = zip(self.slope, self.offset, self.half_width, strict=True)
        entry = {t: dict(zip(NUMBERS, values, strict=True)) for t, values in zip(TARGETS, numbers, strict=True)}
        return entry | {"groups": self.groups, "split": self.split, "level": self.level}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """What `to_dict` gave.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        valence, arousal = ([float(values[target][name]) for name in NUMBERS] for target in TARGETS)
        if not np.isfinite([valence, arousal]).all() or values["split"] not in SPLITS:
            raise ValueError("a number is not finite, or there is no such split")
        slope, offset, width = zip(valence, arousal, strict=True)
        return cls(slope, offset, width, int(values["groups"]), str(values["split"]), float(values["level"]))


def regression(predictions: np.ndarray, labels: np.ndarray) -> tuple[float, float] | None:
    """Slope and offset of the least-squares line of labels (N,) on predictions (N,); None if these are constant."""
    x, y = predictions.astype(np.float64), labels.astype(np.float64)
    if len(x) < 2 or x.var() == 0:
        return None
    slope = float(np.mean((x - x.mean()) * (y - y.mean())) / x.var())
    return slope, float(y.mean() - slope * x.mean())


def lines_of_sums(sums: np.ndarray) -> np.ndarray:
    """Slope and offset (..., 2) of labels on predictions from sums (..., 6) (`group_sums`); NaN if constant."""
    n, sx, sy, sxx, _, sxy = np.moveaxis(np.asarray(sums, np.float64), -1, 0)
    n = np.maximum(n, 1)
    variance = sxx / n - (sx / n) ** 2
    slope = (sxy / n - sx * sy / n**2) / np.where(variance > 1e-12, variance, np.nan)
    return np.stack([slope, sy / n - slope * sx / n], axis=-1)


def coverage(calibration: Calibration, values: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> list[float]:
    """Share of labels inside the bands, per target: over the frames of a group, then over groups."""
    low, high = calibration.band(calibration.apply(values))
    inside = (low <= labels) & (labels <= high)
    return [float(np.mean([inside[groups == group, c].mean() for group in np.unique(groups)])) for c in range(2)]
