"""Scores of one method trained with several seeds: spread, and differences between methods."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from avfusion.scoring.bootstrap import FEW_VIDEOS, NOTE, interval
from avfusion.scoring.metrics import NAMES, WEIGHTS, pooled_scores, target_sums, valid_pairs
from avfusion.scoring.track_predictions import TrackPredictions


def entry_name(name: str, seed: int) -> str:
    """Name of the predictions of a model trained with a seed."""
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
    """Mean and standard deviation over seeds, and the scores of each."""
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "sd": sd, "seeds": list(values)}


def seed_summary(
    tracks: Sequence[TrackPredictions],
    models: Sequence[str],
    seeds: Sequence[int],
    pairs: Sequence[tuple[str, str]],
    resamples: int,
    draw: int,
    seedless: Sequence[str] = (),
) -> dict[str, Any]:
    """Scores of models that were trained with several seeds, and what lies between them.

    Args:
        pairs: models whose difference is wanted, the first minus the second.
        seedless: further predictions, which no seed decides.

    Returns:
        `models`: {model: {ccc_valence, ccc_arousal, ccc_mean, each {mean, sd, seeds: [...]}}}; `differences`: {"jca -
        concat": {valence|arousal|mean: {difference, ci95}}} of the means over seeds, with intervals paired over base
        videos; `split`, `seeds`, `videos`, `groups` and a `note` where the groups are few.
    """
    entries = {name: [entry_name(name, seed) for seed in seeds] for name in models}
    entries |= {name: [name] for name in seedless}
    scores = {}
    for name, own in entries.items():
        found = [pooled_scores(tracks, entry, resamples=100, seed=draw) for entry in own]
        scores[name] = {f"ccc_{target}": seed_spread([entry[f"ccc_{target}"] for entry in found]) for target in NAMES}
    groups = len({track.group for track in tracks if track.valid.any()})
    return {
        "split": tracks[0].split,
        "seeds": list(seeds),
        "models": scores,
        "differences": {
            f"{first} - {second}": seed_difference(tracks, first, second, seeds, resamples, draw)
            for first, second in pairs
        },
        "videos": len({track.video for track in tracks if track.valid.any()}),
        "groups": groups,
        "note": NOTE if groups < FEW_VIDEOS else "",
    }
