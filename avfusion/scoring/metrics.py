"""Scores of predictions against labels, pooled over a split and per track."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from avfusion.scoring.calibration import regression
from avfusion.scoring.ccc import ccc
from avfusion.scoring.intervals import effective_groups, group_sums, interval, p_value
from avfusion.scoring.smoothing import smooth_seconds
from avfusion.scoring.track_predictions import TARGETS, TrackPredictions

NAMES = (*TARGETS, "mean")
# Each reported number as a combination of (valence, arousal).
WEIGHTS = {"valence": (1.0, 0.0), "arousal": (0.0, 1.0), "mean": (0.5, 0.5)}


def pcc(predictions: np.ndarray, targets: np.ndarray) -> float:
    """Pearson correlation of (N,) and (N,); 0 if either is constant, NaN for fewer than two pairs."""
    if len(predictions) < 2:
        return float("nan")
    x, y = (values.astype(np.float64) - values.mean(dtype=np.float64) for values in (predictions, targets))
    scale = np.sqrt((x * x).sum() * (y * y).sum())
    return float((x * y).sum() / scale) if scale > 0 else 0.0


def rmse(predictions: np.ndarray, targets: np.ndarray) -> float:
    """Root mean square error of (N,) and (N,); NaN for no pairs."""
    if len(predictions) == 0:
        return float("nan")
    return float(np.sqrt(np.mean((predictions.astype(np.float64) - targets) ** 2)))


def sagr(predictions: np.ndarray, targets: np.ndarray) -> float:
    """Sign agreement of (N,) and (N,): share of pairs with equal signs, 0 as its own sign; NaN for no pairs.

    Nicolaou, Gunes and Pantic, IEEE Transactions on Affective Computing 2 (2011).
    """
    return float(np.mean(np.sign(predictions) == np.sign(targets))) if len(predictions) else float("nan")


# Measures reported beside CCC, without intervals.
BESIDE_CCC: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {"pcc": pcc, "rmse": rmse, "sagr": sagr}


def valid_pairs(
    tracks: Sequence[TrackPredictions], model: str, windows_s: Sequence[float] | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions (N, 2), labels (N, 2) and group numbers (N,) of all valid frames of the tracks, concatenated.

    Smoothing (`windows_s`: seconds, per target) covers all frames of each track, before invalid frames are dropped.
    """
    numbers = {group: number for number, group in enumerate(sorted({track.group for track in tracks}))}
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for track in tracks:
        if model not in track.predictions:
            continue
        values = track.predictions[model]
        if windows_s is not None:
            values = smooth_seconds(values, track.time_s, windows_s)
        parts.append((values[track.valid], track.labels[track.valid], np.full(track.valid.sum(), numbers[track.group])))
    if not parts:
        return np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0, int)
    predictions, labels, groups = (np.concatenate(part) for part in zip(*parts, strict=True))
    return predictions, labels, groups


def target_sums(predictions: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Sums (2, G, 6) of both targets, for `intervals.interval`."""
    return np.stack([group_sums(predictions[:, c], labels[:, c], groups) for c in range(2)])


def scored_frames(tracks: Sequence[TrackPredictions]) -> dict[str, int]:
    """Valid frames by group, of those that have any."""
    found: dict[str, int] = {}
    for track in tracks:
        if count := int(track.valid.sum()):
            found[track.group] = found.get(track.group, 0) + count
    return found


def pooled_scores(
    tracks: Sequence[TrackPredictions], model: str, *, windows_s: Sequence[float] | None = None
) -> dict[str, Any]:
    """The entry of one model in metrics.json.

    Pooled (all valid frames of all tracks concatenated) CCC of valence, arousal and their mean, with 95 % intervals
    clustered on groups; PCC, RMSE and SAGR pooled likewise (their mean is the mean over both targets); `slope_` and
    `offset_` of the least-squares line of labels on predictions (1 and 0 where values mean what they say); counts of
    scored frames, tracks, videos and groups, and `effective_videos`: how many equally long groups weigh as much
    (`intervals.effective_groups`). Undefined numbers are None.
    """
    predictions, labels, groups = valid_pairs(tracks, model, windows_s)
    entry: dict[str, Any] = {f"{kind}_{name}": None for kind in ("ccc", "ci95", *BESIDE_CCC) for name in NAMES}
    entry |= {f"{kind}_{target}": None for kind in ("slope", "offset") for target in TARGETS}
    if len(predictions) >= 2:
        scores = [ccc(predictions[:, c], labels[:, c]) for c in range(2)]
        sums = target_sums(predictions, labels, groups)
        for name, weights in WEIGHTS.items():
            entry[f"ccc_{name}"] = float(np.dot(weights, scores))
            ends = interval(sums, weights)
            entry[f"ci95_{name}"] = None if ends is None else list(ends)
        for kind, measure in BESIDE_CCC.items():
            values = [measure(predictions[:, c], labels[:, c]) for c in range(2)]
            entry |= {f"{kind}_{name}": float(np.dot(weights, values)) for name, weights in WEIGHTS.items()}
        for c, target in enumerate(TARGETS):
            if line := regression(predictions[:, c], labels[:, c]):
                entry |= {f"slope_{target}": line[0], f"offset_{target}": line[1]}
    entry["frames"] = len(predictions)
    scored = [track for track in tracks if model in track.predictions and track.valid.any()]
    entry["videos"] = len({track.video for track in scored})
    entry["groups"] = len({track.group for track in scored})
    entry["tracks"] = len(scored)
    entry["effective_videos"] = effective_groups(scored_frames(scored).values())
    return entry


def paired_difference(tracks: Sequence[TrackPredictions], first: str, second: str) -> dict[str, Any]:
    """CCC of `first` minus CCC of `second` on the same frames: per target and of the mean, `difference`, its interval
    `ci95` and its `p`.

    Paired: from both models the same videos are left out. The interval is for these two trained models.
    """
    pairs = [valid_pairs(tracks, model) for model in (first, second)]
    found: dict[str, Any] = {}
    for name, weights in WEIGHTS.items():
        if len(pairs[0][0]) < 2 or len(pairs[0][0]) != len(pairs[1][0]):
            found[name] = {"difference": None, "ci95": None, "p": None}
            continue
        sums = np.concatenate([target_sums(*pair) for pair in pairs])
        scores = [ccc(pair[0][:, c], pair[1][:, c]) for pair in pairs for c in range(2)]
        signed = (*weights, *(-weight for weight in weights))
        ends = interval(sums, signed, fisher=False)
        found[name] = {
            "difference": float(np.dot(signed, scores)),
            "ci95": None if ends is None else list(ends),
            "p": p_value(sums, signed),
        }
    return found


def track_scores(tracks: Sequence[TrackPredictions], model: str) -> list[dict[str, Any]]:
    """A row per track: CCC, PCC, RMSE and SAGR of both targets, and the number of scored frames."""
    rows = []
    for track in tracks:
        if model not in track.predictions:
            continue
        row: dict[str, Any] = {"split": track.split, "track": track.track, "video": track.video, "model": model}
        row["frames"] = int(track.valid.sum())
        for c, target in enumerate(TARGETS):
            x, y = track.predictions[model][track.valid, c], track.labels[track.valid, c]
            enough = len(x) >= 2
            row |= {f"ccc_{target}": ccc(x, y) if enough else None, f"pcc_{target}": pcc(x, y) if enough else None}
            row |= {f"rmse_{target}": rmse(x, y) if len(x) else None, f"sagr_{target}": sagr(x, y) if len(x) else None}
        rows.append(row)
    return rows


PRESENCE = {"both": (True, True), "audio alone": (True, False), "face alone": (False, True), "neither": (False, False)}


def scores_by_presence(tracks: Sequence[TrackPredictions], model: str) -> dict[str, dict[str, float | int | None]]:
    """CCC and RMSE, pooled over the frames whose clip has both streams, one of them or none.

    Keys: `both`, `audio alone`, `face alone` and `neither`; values: `frames` and, per target, `ccc_` and `rmse_`, None
    for too few frames. The groups differ in their distribution of labels, so compare only RMSEs between them.
    """
    found: dict[str, dict[str, float | int | None]] = {}
    for name, streams in PRESENCE.items():
        parts = [(track, track.valid & (track.presence == streams).all(axis=1)) for track in tracks]
        nothing = np.zeros((0, 2), np.float32)
        predictions = np.concatenate([nothing, *(track.predictions[model][at] for track, at in parts)])
        labels = np.concatenate([nothing, *(track.labels[at] for track, at in parts)])
        entry: dict[str, float | int | None] = {"frames": len(labels)}
        for c, target in enumerate(TARGETS):
            pair = predictions[:, c], labels[:, c]
            entry[f"ccc_{target}"] = ccc(*pair) if len(labels) >= 2 else None
            entry[f"rmse_{target}"] = rmse(*pair) if len(labels) else None
        found[name] = entry
    return found


def errors_by_condition(tracks: Sequence[TrackPredictions], model: str) -> dict[str, dict[str, float | int | None]]:
    """RMSE inside and outside the spans in which a stream is known to carry no information, by condition.

    `rmse_inside` and `rmse_outside` are over both targets, `rmse_valence_inside` and so on over one;
    `frames_inside` and `frames_outside` count scored frames.
    """
    found: dict[str, dict[str, float | int | None]] = {}
    for name in sorted({name for track in tracks for name in track.conditions}):
        entry: dict[str, float | int | None] = {}
        for where in ("inside", "outside"):
            errors = []
            for track in tracks:
                spans = track.conditions.get(name, np.zeros(len(track.valid), bool))
                at = track.valid & (spans if where == "inside" else ~spans)
                errors.append(track.predictions[model][at].astype(np.float64) - track.labels[at])
            error = np.concatenate(errors)
            columns = {"": error, **{f"{target}_": error[:, c] for c, target in enumerate(TARGETS)}}
            entry |= {
                f"rmse_{target}{where}": float(np.sqrt(np.mean(part**2))) if part.size else None
                for target, part in columns.items()
            }
            entry[f"frames_{where}"] = len(error)
        found[name] = entry
    return found
