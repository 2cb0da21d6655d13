"""Scores of one method trained with several seeds: spread, and differences between methods."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from avfusion.scoring.intervals import ccc_of_sums, effective_groups, few_note, interval, p_value
from avfusion.scoring.metrics import NAMES, WEIGHTS, pooled_scores, scored_frames, target_sums, valid_pairs
from avfusion.scoring.track_predictions import TrackPredictions


def entry_name(name: str, seed: int) -> str:
    """Name of the predictions of a model trained with a seed."""
    return f"{name}, seed {seed}"


def seed_coefficients(weights: Sequence[float], signs: Sequence[int], seeds: int) -> np.ndarray:
    """Coefficients (S, K) for `intervals.interval`, a row per seed, of scores in the order of sign, seed and target.

    Args:
        weights: of the targets, as in `WEIGHTS`.
        signs: 1 for the model itself; 1 and -1 for a difference between two.
        seeds: S.
    """
    return np.concatenate([np.kron(np.eye(seeds), [sign * weight for weight in weights]) for sign in signs], axis=1)


def seed_difference(
    tracks: Sequence[TrackPredictions], first: str, second: str, seeds: Sequence[int]
) -> dict[str, Any]:
    """{valence|arousal|mean: {difference, ci95, p}} of two models' mean scores over seeds, paired by video and seed.

    With several seeds the interval holds for training both again with others; with one, for these two trained models.
    """
    pairs = [valid_pairs(tracks, entry_name(name, seed)) for name in (first, second) for seed in seeds]
    sums = np.concatenate([target_sums(*pair) for pair in pairs])
    found = {}
    for target, weights in WEIGHTS.items():
        rows = seed_coefficients(weights, (1, -1), len(seeds))
        ends = interval(sums, rows, fisher=False)
        value = float(rows.mean(axis=0) @ ccc_of_sums(sums.sum(axis=1)))
        found[target] = {"difference": value, "ci95": None if ends is None else list(ends), "p": p_value(sums, rows)}
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
    seedless: Sequence[str] = (),
) -> dict[str, Any]:
    """Scores of models that were trained with several seeds, and what lies between them.

    Args:
        pairs: models whose difference is wanted, the first minus the second.
        seedless: further predictions, which no seed decides.

    Returns:
        `models`: {model: {ccc_valence, ccc_arousal, ccc_mean, each {mean, sd, seeds: [...]}}}; `differences`: {"jca -
        concat": {valence|arousal|mean: {difference, ci95, p}}} of the means over seeds (`seed_difference`); `split`,
        `seeds`, `videos`, `groups`, `effective_videos` and a `note` where these are few.
    """
    entries = {name: [entry_name(name, seed) for seed in seeds] for name in models}
    entries |= {name: [name] for name in seedless}
    scores = {}
    for name, own in entries.items():
        found = [pooled_scores(tracks, entry) for entry in own]
        scores[name] = {f"ccc_{target}": seed_spread([entry[f"ccc_{target}"] for entry in found]) for target in NAMES}
    frames = scored_frames(tracks)
    effective = effective_groups(frames.values())
    return {
        "split": tracks[0].split,
        "seeds": list(seeds),
        "models": scores,
        "differences": {
            f"{first} - {second}": seed_difference(tracks, first, second, seeds) for first, second in pairs
        },
        "videos": len({track.video for track in tracks if track.valid.any()}),
        "groups": len(frames),
        "effective_videos": effective,
        "note": few_note(effective),
    }
