"""Scores of one method trained with several seeds: spread, and differences between methods."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from avfusion.scoring.bootstrap import interval
from avfusion.scoring.metrics import WEIGHTS, pooled_scores, target_sums, valid_pairs
from avfusion.scoring.track_predictions import TrackPredictions


def entry_name(name: str, seed: int) -> str:
    """What the predictions of a model trained with a seed are called."""
    return f"{name}, seed {seed}"


def seed_difference(
    tracks: Sequence[TrackPredictions], first: str, second: str, seeds: Sequence[int], resamples: int, draw: int
) -> dict[str, Any]:
    """{valence|arousal|mean: {difference, ci95}} of two models' mean scores over seeds, paired over base videos."""
    sums = np.concatenate([target_sums(*valid_pairs(tracks, entry_name(n, s))) for n in (first, second) for s in seeds])
    scores = [pooled_scores(tracks, entry_name(n, s), resamples=100, seed=draw) for n in (first, second) for s in seeds]
    signs = [sign / len(seeds) for sign in (1, -1) for _ in seeds]
    found = {}
    for target, weights in WEIGHTS.items():
        coefficients = [sign * weight for sign in signs for weight in weights]
        ends = interval(sums, coefficients, resamples=resamples, seed=draw, fisher=False)
        value = sum(sign * score[f"ccc_{target}"] for sign, score in zip(signs, scores, strict=True))
        found[target] = {"difference": value, "ci95": None if ends is None else list(ends)}
    return found


def seed_spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean and standard deviation over seeds, and the scores themselves."""
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "sd": sd, "seeds": list(values)}
