"""How far labels lag behind the video: annotators react late, each to valence and arousal in their own way.

For each of many lags, ridge regressions turn the features of a clip into the label that comes so much later, each
trained on the groups of videos that it is not asked about. Where these guesses correlate highest with the labels, the
labels are of the moment that the features are of. A clip's moment is its middle.

Backbones that were trained on the labels see what helps them in a clip, so the middle is true to about `UNSURE_S` only.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from avfusion.data.track_data import TrackData
from avfusion.runtime.errors import BadInputError
from avfusion.scoring.intervals import TOO_FEW_GROUPS, effective_groups
from avfusion.scoring.track_predictions import TARGETS

TAUS_S = np.round(np.arange(-2.0, 5.01, 0.1), 1)
UNSURE_S = 0.25
FOLDS, RIDGE = 5, 0.1
FEWEST_CLIPS = 10  # of a track, to be correlated
FAINT = 0.1  # a lower correlation tells nothing


@dataclass(frozen=True)
class Lag:
    """By how much the labels of a target lag behind the video.

    Attributes:
        seconds: the lag; None where the correlation is faint, or highest at an end of `TAUS_S`.
        low, high: its 95 % interval over groups of videos (jackknife, Student's t); None without `seconds`.
        correlation: with labels of each of `TAUS_S`, mean within tracks.
        groups: of videos.
    """

    seconds: float | None
    low: float | None
    high: float | None
    correlation: tuple[float, ...]
    groups: int


def estimate_lags(tracks: Sequence[TrackData], clip_frames: int) -> dict[str, Lag]:
    """The lag of valence and arousal over labelled tracks.

    Args:
        clip_frames: ticks of a clip, of which the last is that of `clip_ticks`.

    Raises:
        BadInputError: there are fewer than 8 groups of videos with labels.
    """
    tracks = [track for track in tracks if track.valid.sum() >= 2 and len(track.clip_ticks) >= FEWEST_CLIPS]
    groups = sorted({track.group for track in tracks})
    if len(groups) < TOO_FEW_GROUPS:
        raise BadInputError(
            f"a lag needs {TOO_FEW_GROUPS} groups of training videos with labels and features, and there are "
            f"{len(groups)}"
        )
    middles = [track.clip_ticks - (clip_frames - 1) / 2 for track in tracks]
    moments = [np.interp(at, track.frame_ticks, track.time_s) for at, track in zip(middles, tracks, strict=True)]
    later = [np.stack([_labels_at(t, at + tau) for tau in TAUS_S]) for t, at in zip(tracks, moments, strict=True)]
    sums = np.zeros((len(TARGETS), len(groups), len(TAUS_S), 3))
    for track, labels, guesses in zip(tracks, later, _guesses(tracks, later, groups), strict=True):
        sums[:, groups.index(track.group)] += _products(labels, guesses)
    return {target: _lag(sums[c]) for c, target in enumerate(TARGETS)}


def _features(track: TrackData) -> np.ndarray:
    """Features of both streams (T, D) float64; maps are averaged."""
    parts = [track.audio, track.visual if track.visual.ndim == 2 else track.visual.mean(axis=(2, 3))]
    return np.concatenate([np.asarray(part, np.float64) for part in parts], axis=1)


def _labels_at(track: TrackData, seconds: np.ndarray) -> np.ndarray:
    """Labels (N, 2) at times; NaN beside frames without, and beyond the video."""
    values = np.where(track.valid[:, None], track.labels, np.nan)
    return np.stack([np.interp(seconds, track.time_s, one, left=np.nan, right=np.nan) for one in values.T], axis=1)


def _guesses(tracks: Sequence[TrackData], later: Sequence[np.ndarray], groups: Sequence[str]) -> Iterator[np.ndarray]:
    """Guesses (taus, T, 2) of later labels (taus, T, 2) for each track, by regressions on the other folds of groups."""
    fold = {group: number % FOLDS for number, group in enumerate(groups)}
    count, total, squares = 0, np.zeros(1), np.zeros(1)
    for track in tracks:
        x = _features(track)
        count, total, squares = count + len(x), total + x.sum(axis=0), squares + (x * x).sum(axis=0)
    mean = total / count
    scale = np.sqrt(np.maximum(squares / count - mean**2, 1e-12))
    level = np.array([np.concatenate([track.labels[track.valid, c] for track in tracks]).mean() for c in range(2)])
    width, outputs = len(mean), len(TAUS_S) * len(TARGETS)
    gram, products, clips = np.zeros((FOLDS, width, width)), np.zeros((FOLDS, width, outputs)), np.zeros(FOLDS)
    for track, labels in zip(tracks, later, strict=True):
        x, where = (_features(track) - mean) / scale, fold[track.group]
        gram[where] += x.T @ x
        products[where] += x.T @ np.nan_to_num(labels - level).transpose(1, 0, 2).reshape(len(x), outputs)
        clips[where] += len(x)
    weights = []
    for held in range(FOLDS):
        others = [f for f in range(FOLDS) if f != held]
        normal = gram[others].sum(axis=0) + RIDGE * clips[others].sum() * np.eye(width)
        weights.append(np.linalg.solve(normal, products[others].sum(axis=0)))
    for track in tracks:
        x = (_features(track) - mean) / scale
        yield (x @ weights[fold[track.group]]).reshape(len(x), len(TAUS_S), len(TARGETS)).transpose(1, 0, 2)


def _products(labels: np.ndarray, guesses: np.ndarray) -> np.ndarray:
    """Sums (2, taus, 3) of ab, a², b² of guesses a and labels b, (taus, T, 2), without their means in this track."""
    known = np.isfinite(labels)
    count = known.sum(axis=1, keepdims=True)
    a, b = (np.where(known, values, 0) for values in (guesses, labels))
    a, b = (np.where(known, one - one.sum(axis=1, keepdims=True) / np.maximum(count, 1), 0) for one in (a, b))
    sums = np.stack([(a * b).sum(axis=1), (a * a).sum(axis=1), (b * b).sum(axis=1)], axis=-1)
    return np.where(count[:, 0, :, None] >= FEWEST_CLIPS, sums, 0).transpose(1, 0, 2)


def _lag(sums: np.ndarray) -> Lag:
    """The lag of sums (G, taus, 3) by group."""
    total, count = sums.sum(axis=0), len(sums)
    correlation = _correlation(total)
    seconds = _peak(correlation)
    shown = tuple(float(value) for value in correlation)
    if seconds is None:
        return Lag(None, None, None, shown, count)
    left_out = [peak for group in sums if (peak := _peak(_correlation(total - group))) is not None]
    if len(left_out) < count:
        return Lag(None, None, None, shown, count)
    error = np.sqrt((count - 1) / count * np.sum((np.array(left_out) - seconds) ** 2))
    weight = effective_groups(sums[:, :, 2].sum(axis=1))
    half = float(student.ppf(0.975, max(weight - 1, 1)) * error)
    return Lag(seconds, seconds - half, seconds + half, shown, count)


def _correlation(sums: np.ndarray) -> np.ndarray:
    return sums[:, 0] / np.sqrt(np.maximum(sums[:, 1] * sums[:, 2], 1e-24))


def _peak(correlation: np.ndarray) -> float | None:
    """Seconds of the highest correlation, between those of `TAUS_S` by a parabola; None if faint, or at an end."""
    at = int(np.argmax(correlation))
    if correlation[at] < FAINT or at in (0, len(correlation) - 1):
        return None
    before, here, after = correlation[at - 1 : at + 2]
    bend = before - 2 * here + after
    shift = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return float(TAUS_S[at] + shift * (TAUS_S[1] - TAUS_S[0]))
