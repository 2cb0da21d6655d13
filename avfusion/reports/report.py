"""The files of reports/evaluate/ that hold numbers, and reports/summary.json."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avfusion.corpora.demo.truth import ORACLES
from avfusion.runtime.atomic import write_json, write_text
from avfusion.scoring.intervals import effective_groups, few_note, holm
from avfusion.scoring.metrics import (
    BESIDE_CCC,
    errors_by_condition,
    paired_difference,
    pooled_scores,
    scored_frames,
    track_scores,
)
from avfusion.scoring.released_protocol import released_scores
from avfusion.scoring.track_predictions import TARGETS, TrackPredictions

DIGITS = 6


def rounded(value: Any) -> Any:
    """Floats rounded to 6 decimals, in nested mappings and lists, so that equal computations give equal numbers."""
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return round(value, DIGITS) + 0.0 if isinstance(value, float) else value


def metrics_table(
    splits: Mapping[str, Sequence[TrackPredictions]],
    models: Sequence[str],
    *,
    windows_s: Sequence[float],
    released: bool = False,
) -> dict[str, dict[str, dict[str, Any]]]:
    """`{split: {model: entry}}`, the form of metrics.json; oracles, if any, as further models.

    With `released`, the entries of the models (not of the oracles) have `released_protocol` beside ours.
    """
    oracles = [
        name for name in ORACLES if any(name in track.predictions for tracks in splits.values() for track in tracks)
    ]
    table: dict[str, dict[str, dict[str, Any]]] = {}
    for split, tracks in splits.items():
        table[split] = {}
        for model in (*models, *oracles):
            entry = pooled_scores(tracks, model)
            entry["smoothed"] = pooled_scores(tracks, model, windows_s=windows_s)
            if released and model in models:
                entry["released_protocol"] = released_scores(tracks, model)
            table[split][model] = entry
    return table


def comparisons(
    splits: Mapping[str, Sequence[TrackPredictions]], main: str, others: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """`{split: {other: {valence|arousal|mean: {difference, ci95, p, p_holm}}}}`: paired differences of the main model
    from each other; `p_holm` is the p value adjusted for the number of others (Holm).
    """
    return {
        split: adjusted({other: paired_difference(tracks, main, other) for other in others})
        for split, tracks in splits.items()
    }


def adjusted(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Comparisons with one reference, {other: {target: entry}}, with `p_holm` in each entry."""
    by_target = {
        target: holm([entries[target]["p"] for entries in found.values()]) for target in next(iter(found.values()), {})
    }
    return {
        other: {target: {**entry, "p_holm": by_target[target][i]} for target, entry in entries.items()}
        for i, (other, entries) in enumerate(found.items())
    }


def headline(
    metrics: Mapping[str, Mapping[str, Mapping[str, Any]]],
    differences: Mapping[str, Mapping[str, Mapping[str, Any]]],
    main: str,
    others: Sequence[str],
) -> dict[str, float | None]:
    """The numbers of reports/summary.json, DVC's metric: short names and 3 decimals, so that a table holds them.

    `val` and `test` are the main model's mean CCC; `_v` and `_a` are its valence and arousal, `_b` is the mean CCC of
    the best baseline. `gain` is the main model's difference to that baseline, from `least` to `most` the 95 % interval
    of the gain; these three belong to the test split where it has labels, else to validation. None: not computable.

    Args:
        metrics: contents of metrics.json.
        differences: `comparisons` of the main model with the baselines.
    """
    numbers: dict[str, float | None] = {}
    gain: Mapping[str, Any] = {}
    for split in ("val", "test"):
        entry = metrics.get(split, {}).get(main, {})
        for suffix, target in (("", "mean"), ("_v", "valence"), ("_a", "arousal")):
            numbers[f"{split}{suffix}"] = entry.get(f"ccc_{target}")
        scores = {name: metrics[split][name]["ccc_mean"] for name in others if split in metrics}
        scored = {name: score for name, score in scores.items() if score is not None}
        best = max(scored, key=lambda name: scored[name], default=None)
        numbers[f"{split}_b"] = scored[best] if best else None
        gain = differences[split][best]["mean"] if best else gain
    numbers["gain"] = gain.get("difference")
    numbers["least"], numbers["most"] = gain.get("ci95") or (None, None)
    return {name: None if value is None else round(value, 3) + 0.0 for name, value in numbers.items()}


def conditions(
    splits: Mapping[str, Sequence[TrackPredictions]], models: Sequence[str]
) -> dict[str, dict[str, dict[str, Any]]]:
    """`{split: {model: {condition: {rmse_inside, rmse_outside, frames_inside, frames_outside}}}}`."""
    return {split: {model: errors_by_condition(tracks, model) for model in models} for split, tracks in splits.items()}


def interval_facts(splits: Mapping[str, Sequence[TrackPredictions]]) -> dict[str, Any]:
    """The method of the intervals, the numbers of videos and groups behind them, and a warning if these are few."""
    scored = {split: [track for track in tracks if track.valid.any()] for split, tracks in splits.items()}
    frames = {split: scored_frames(tracks) for split, tracks in scored.items()}
    effective = {split: effective_groups(counts.values()) for split, counts in frames.items()}
    return {
        "form": "jackknife, Student's t, on Fisher's z (differences: on the difference itself)",
        "clusters": "groups of videos",
        "level": 0.95,
        "videos": {split: len({track.video for track in tracks}) for split, tracks in scored.items()},
        "groups": {split: len(counts) for split, counts in frames.items()},
        "effective_videos": effective,
        "notes": {split: note for split, count in effective.items() if (note := few_note(count))},
    }


def write_track_scores(path: Path, splits: Mapping[str, Sequence[TrackPredictions]], models: Sequence[str]) -> None:
    """CSV, a row per split, track and model: `track_scores`, then its mean and sd over the tracks of a split."""
    rows = []
    for split, tracks in splits.items():
        for model in models:
            scored = track_scores(tracks, model)
            rows += scored
            for name, function in (("(mean)", np.mean), ("(sd)", np.std)):
                summary: dict[str, Any] = {"split": split, "track": name, "video": "", "model": model}
                summary["frames"] = sum(row["frames"] for row in scored)
                for key in [key for key in (scored[0] if scored else {}) if key.split("_")[0] in ("ccc", *BESIDE_CCC)]:
                    values = [row[key] for row in scored if row[key] is not None]
                    summary[key] = float(function(values)) if values else None
                rows.append(summary)
    write_csv(path, rows)


def write_categories(path: Path, metrics: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    """CSV, a row per split, model, attribute and category: `scores_by_category`, ends of intervals as `_low`, `_high`.

    Only the header for a corpus without attributes.
    """
    rows: list[dict[str, Any]] = []
    for split, models in metrics.items():
        for model, entry in models.items():
            for attribute, categories in entry.get("attributes", {}).items():
                for category, scores in categories.items():
                    row = {"split": split, "model": model, "attribute": attribute, "category": category}
                    for key, value in scores.items():
                        if "_ci95_" in key:
                            ends = value or (None, None)
                            row |= {key.replace("ci95", end): ends[i] for i, end in enumerate(("low", "high"))}
                        else:
                            row[key] = value
                    rows.append(row)
    write_csv(path, rows, None if rows else ("split", "model", "attribute", "category"))


LABELS_ON_VALUES = "labels on values: slope offset, v / a"


def shown_lines(entry: Mapping[str, Any], prefix: str = "") -> str:
    """Slope and offset of labels on values, of valence and arousal, for tables: `0.62 +0.03 / 0.71 -0.01`."""
    cells = []
    for target in TARGETS:
        slope, offset = (entry.get(f"{prefix}{kind}_{target}") for kind in ("slope", "offset"))
        cells.append("–" if slope is None or offset is None else f"{slope:.2f} {offset:+.2f}")
    return "–" if set(cells) == {"–"} else " / ".join(cells)


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], fields: Sequence[str] | None = None) -> None:
    """Write rows as CSV, floats with 7 significant digits, None as blank; columns: `fields`, else the rows' keys."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fields or list(dict.fromkeys(k for row in rows for k in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {key: f"{item:.7g}" if isinstance(item, float) else item for key, item in row.items()} for row in rows
    )
    write_text(path, text.getvalue())


def write_report(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON with rounded floats, so that equal results give equal bytes."""
    write_json(path, rounded(value))
