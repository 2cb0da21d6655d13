"""Fit calibrations: a line by least squares and a conformal band around it."""

from dataclasses import replace

import numpy as np

from avfusion.scoring.calibration import LEVEL, Calibration, lines_of_sums, regression
from avfusion.scoring.intervals import TOO_FEW_GROUPS, group_sums


def fit_calibration(predictions: np.ndarray, labels: np.ndarray, groups: np.ndarray, split: str) -> Calibration | None:
    """A calibration fitted to predictions (N, 2), labels (N, 2) and group numbers (N,); None for fewer than 8 groups.

    The line is that of least squares over all frames, its slope at least 0. The band is conformal over groups: the
    quantile of absolute errors, each from the line without its own group, in which each group weighs 1 / (G + 1),
    spread over its frames, and 1 / (G + 1) lies at infinity. Around a line that was known beforehand, a frame of a
    new group, exchangeable with these, would be inside with a probability of at least `LEVEL` (Lee, Barber and
    Willett, "Distribution-free inference with hierarchical data", arXiv 2306.06342); leaving groups out makes up
    for the fit (Barber et al., "Predictive inference with the jackknife+", arXiv 1905.02928).
    """
    count = len(np.unique(groups))
    if count < TOO_FEW_GROUPS:
        return None
    (valence, arousal) = (_shrinking(predictions[:, c], labels[:, c]) for c in range(2))
    line = Calibration((valence[0], arousal[0]), (valence[1], arousal[1]), (0.0, 0.0), count, split)
    errors = _errors_left_out(predictions, labels, groups)
    widths = _group_quantile(errors[:, 0], groups, LEVEL), _group_quantile(errors[:, 1], groups, LEVEL)
    return replace(line, half_width=widths)


def _shrinking(predictions: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Slope, 0 where it would be negative, and offset."""
    line = regression(predictions, labels)
    slope = max(line[0], 0.0) if line else 0.0
    return slope, float(labels.mean(dtype=np.float64) - slope * predictions.mean(dtype=np.float64))


def _errors_left_out(predictions: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Absolute errors (N, 2) of the labels from lines that were fitted without their own group."""
    found, number = np.zeros(labels.shape), np.unique(groups, return_inverse=True)[1]
    for c in range(2):
        x, y = predictions[:, c].astype(np.float64), labels[:, c].astype(np.float64)
        sums = group_sums(x, y, number)
        rest = sums.sum(axis=0) - sums
        lines = lines_of_sums(rest)
        slope = np.maximum(np.nan_to_num(lines[:, 0]), 0)
        offset = (rest[:, 2] - slope * rest[:, 1]) / rest[:, 0]
        found[:, c] = np.abs(np.clip(offset[number] + slope[number] * x, -1, 1) - y)
    return found


def _group_quantile(errors: np.ndarray, groups: np.ndarray, level: float) -> float:
    """The smallest error below which a weight of `level` lies, each of G groups weighing 1 / (G + 1)."""
    _, number, counts = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.argsort(errors, kind="stable")
    weights = 1 / counts[number[order]] / (len(counts) + 1)
    at = int(np.searchsorted(np.cumsum(weights), level - 1e-12))
    return float(errors[order[min(at, len(order) - 1)]])
