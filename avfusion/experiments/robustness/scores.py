"""Scores of all models under all conditions, and what each condition costs them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from avfusion.data.settings import GeometrySettings
from avfusion.data.track_data import TrackData
from avfusion.experiments.robustness.disturbances.absence import absent_span
from avfusion.experiments.robustness.draws import track_random
from avfusion.fusion.base import FusionModel
from avfusion.fusion.track_inference import predict_track
from avfusion.scoring.conditions import CONDITIONS, KINDS, MASKED, Condition
from avfusion.scoring.intervals import interval
from avfusion.scoring.metrics import NAMES, WEIGHTS, paired_difference, pooled_scores, target_sums, valid_pairs
from avfusion.scoring.track_predictions import TrackPredictions

Disturbed = Mapping[str, tuple[np.ndarray, np.ndarray]]
COLUMNS = (
    *("kind", "stream", "level", "unit", "model", "tracks", "videos", "frames"),
    *(f"{key}_{name}{end}" for name in NAMES for key in ("ccc", "change") for end in ("", "_low", "_high")),
)


def thin_out(track: TrackData, ratio: int) -> TrackData:
    """Every `ratio`-th clip of a track."""
    names = ("clip_ticks", "audio", "visual", "audio_present", "visual_present", "target_frames")
    return replace(track, **{name: getattr(track, name)[::ratio] for name in names})


def disturb(track: TrackData, condition: Condition, disturbed: Disturbed, seed: int) -> TrackData | None:
    """A track under a condition; None where it cannot be had, as noise on a track without sound."""
    stream = condition.stream
    if condition.kind in MASKED:
        place = float(track_random(seed, track.track).random())
        gone = absent_span(len(track.clip_ticks), condition.level, place)
        present = getattr(track, f"{stream}_present") & ~gone
        return replace(track, **{f"{stream}_present": present})
    if condition.name not in disturbed:
        return None
    features, present = disturbed[condition.name]
    return replace(track, **{stream: features, f"{stream}_present": present})  # type: ignore[arg-type]


def predict_conditions(
    clean: Sequence[TrackPredictions],
    tracks: Sequence[TrackData],
    disturbed: Callable[[str], Disturbed],
    models: Mapping[str, FusionModel],
    geometry: GeometrySettings,
    stride: int,
    mode: Any,
    seed: int,
) -> list[TrackPredictions]:
    """`clean` with the predictions of all models under all conditions besides, named by `condition_entry`.

    A track without the disturbed stream is predicted as it is, so that all conditions are scored on the same frames.

    Args:
        disturbed: gives features and presence of a track's disturbed stream, by the condition's name.
    """
    found = []
    for entry, track in zip(clean, tracks, strict=True):
        predictions, spoiled_streams = dict(entry.predictions), disturbed(track.track)
        for condition in CONDITIONS:
            spoiled = disturb(track, condition, spoiled_streams, seed)
            for name, model in models.items():
                predictions[condition_entry(name, condition)] = (
                    entry.predictions[name]
                    if spoiled is None
                    else predict_track(model, spoiled, geometry, stride, mode)
                )
        found.append(replace(entry, predictions=predictions))
    return found


def condition_entry(model: str, condition: Condition) -> str:
    """Under which a model's predictions under a condition are kept."""
    return f"{model}, {condition.name}"


def score_rows(tracks: Sequence[TrackPredictions], models: Sequence[str], kinds: Sequence[str]) -> list[dict[str, Any]]:
    """A row of `COLUMNS` per kind, level and model; the level at which nothing is done is empty.

    `ccc_` is pooled, `change_` what it is more or less than the clean score, each with its interval over videos; that
    of a change is paired.
    """
    clean = {model: pooled_scores(tracks, model) for model in models}
    rows = []
    for kind in kinds:
        entry = KINDS[kind]
        for level in (None, *entry.levels):
            for model in models:
                scores, changes = clean[model], {}
                if level is not None:
                    name = condition_entry(model, Condition(kind, level))
                    scores = pooled_scores(tracks, name)
                    changes = paired_difference(tracks, name, model)
                row: dict[str, Any] = {"kind": kind, "stream": entry.stream, "level": level, "unit": entry.unit}
                row |= {"model": model, **{key: scores[key] for key in ("tracks", "videos", "frames")}}
                for target in NAMES:
                    row |= _numbers("ccc", target, scores[f"ccc_{target}"], scores[f"ci95_{target}"])
                    change = changes.get(target, {"difference": 0.0, "ci95": None})
                    row |= _numbers("change", target, change["difference"], change["ci95"])
                rows.append(row)
    return rows


def dropout_gain(
    tracks: Sequence[TrackPredictions], without: str, trained: str, share: float
) -> dict[str, dict[str, Any]]:
    """What training with modality dropout saves of the CCC that is lost when a stream is absent for `share` of clips.

    By kind and target: `lost_without`, `lost_with`, and `saved`, their difference, with its interval, all four scores
    over the same videos. Positive `saved`: modality dropout does what it is for.
    """
    found: dict[str, dict[str, Any]] = {}
    for kind in MASKED:
        absent = Condition(kind, share)
        names = [without, condition_entry(without, absent), trained, condition_entry(trained, absent)]
        scores = [pooled_scores(tracks, name) for name in names]
        sums = np.concatenate([target_sums(*valid_pairs(tracks, name)) for name in names])
        found[kind] = {}
        for target, weights in WEIGHTS.items():
            coefficients = [sign * weight for sign in (1, -1, -1, 1) for weight in weights]
            ends = interval(sums, coefficients, fisher=False)
            values = [score[f"ccc_{target}"] for score in scores]
            lost = values[0] - values[1], values[2] - values[3]
            found[kind][target] = {
                "lost_without": lost[0],
                "lost_with": lost[1],
                "saved": lost[0] - lost[1],
                "ci95": None if ends is None else list(ends),
            }
    return found


def _numbers(key: str, target: str, value: float | None, ends: Sequence[float] | None) -> dict[str, float | None]:
    low, high = ends if ends else (None, None)
    return {f"{key}_{target}": value, f"{key}_{target}_low": low, f"{key}_{target}_high": high}
