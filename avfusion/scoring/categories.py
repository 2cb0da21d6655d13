"""Scores of people by category: bias, RMSE and CCC of the tracks of each category of an attribute.

Bias and mean square error are means over frames, ratios of two sums over groups: their intervals are linearised
(Cochran, Sampling Techniques, 1977, chapter 6), with Student's t at the degrees of freedom of `scoring.intervals`.
CCC's is that of every other score.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import stdtrit  # as scipy.stats calls it, which is slow to import

from avfusion.scoring.intervals import TOO_FEW_GROUPS, effective_groups, few_note
from avfusion.scoring.metrics import pooled_scores, valid_pairs
from avfusion.scoring.track_predictions import TARGETS, TrackPredictions

Categories = Mapping[str, Mapping[str, str]]  # category by attribute, by track
COUNTS = ("tracks", "videos", "groups", "effective_videos", "frames")


def scores_by_category(
    tracks: Sequence[TrackPredictions], model: str, attributes: Categories
) -> dict[str, dict[str, dict[str, Any]]]:
    """`{attribute: {category: entry}}`; tracks without a category are under "".

    An entry has the counts of scored tracks, videos, groups, effective videos and frames; `bias_` (mean prediction
    minus label), `rmse_` and `ccc_` of valence and arousal, each with its 95 % interval over groups
    (`bias_ci95_valence`; None where the groups are too few); and a `note` where they are few. A category without scored
    frames is left out.
    """
    names = list(dict.fromkeys(name for track in tracks for name in attributes.get(track.track, {})))
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name in names:
        parts: dict[str, list[TrackPredictions]] = {}
        for track in tracks:
            if track.valid.any() and model in track.predictions:
                parts.setdefault(attributes.get(track.track, {}).get(name, ""), []).append(track)
        order = sorted(parts, key=lambda category: (not category, category))  # those without one come last
        found[name] = {category: _entry(parts[category], model) for category in order}
    return {name: entries for name, entries in found.items() if entries}


def _entry(tracks: Sequence[TrackPredictions], model: str) -> dict[str, Any]:
    pooled = pooled_scores(tracks, model)
    predictions, labels, groups = valid_pairs(tracks, model)
    entry: dict[str, Any] = {name: pooled[name] for name in COUNTS}
    for c, target in enumerate(TARGETS):
        error = predictions[:, c].astype(np.float64) - labels[:, c]
        bias, bias_ends = mean_interval(error, groups)
        square, square_ends = mean_interval(error**2, groups)
        roots = [float(np.sqrt(max(end, 0.0))) for end in square_ends] if square_ends else None
        entry |= {f"bias_{target}": bias, f"bias_ci95_{target}": bias_ends}
        entry |= {f"rmse_{target}": float(np.sqrt(square)), f"rmse_ci95_{target}": roots}
        entry |= {f"ccc_{target}": pooled[f"ccc_{target}"], f"ccc_ci95_{target}": pooled[f"ci95_{target}"]}
    entry["note"] = few_note(entry["effective_videos"])
    return entry


def mean_interval(values: np.ndarray, groups: np.ndarray, level: float = 0.95) -> tuple[float, list[float] | None]:
    """Mean of values (N,) and its interval over the groups (N,) of the values; None where these are too few."""
    counts = np.bincount(groups)
    sums = np.bincount(groups, weights=values)[counts > 0]
    counts = counts[counts > 0]
    mean, drawn, effective = float(values.mean()), len(counts), effective_groups(counts)
    if effective < TOO_FEW_GROUPS:
        return mean, None
    error = np.sqrt(((sums - mean * counts) ** 2).sum() * drawn / (drawn - 1)) / counts.sum()
    half = float(stdtrit(effective - 1, (1 + level) / 2) * error)
    return mean, [mean - half, mean + half]
