"""The files of a cross-validation: rows as CSV, a Markdown page, and the averaged test predictions."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avfusion.reports.report import LABELS_ON_VALUES, shown_lines, write_csv
from avfusion.runtime.atomic import write_text
from avfusion.runtime.quantities import counted
from avfusion.scoring.intervals import few_note
from avfusion.scoring.metrics import NAMES
from avfusion.scoring.track_predictions import TrackPredictions, write_track_predictions

SEEN = (
    "The backbones were trained on the official training videos, once for all folds: what the folds from 1 on score, "
    "they have seen. These folds compare fusion models with each other and choose smoothing windows; how good a model "
    "is on new videos, the test tracks say."
)
UNSEEN = (
    "Features of the training tracks are out of fold: they come from backbones that never saw the video, also what the "
    "folds from 1 on score. What remains: the features that such a fold trains on are of backbones that did see the "
    "videos it scores{chosen}."
)
CHOSEN = ", and the epochs of all backbones were chosen by the official validation tracks"
STOPPED = {
    "validation": "Each fold's training stops by the very tracks that the fold scores; the test tracks decide nothing.",
    "inner": "Each fold's training stops by a tenth of its own training groups, set aside from it; the tracks that are "
    "scored and the test tracks decide nothing.",
}
"""What stopped the trainings, by `train.stopping` as it was used."""


@dataclass(frozen=True)
class CrossValidated:
    """Results of a cross-validation.

    Attributes:
        folds: a row per fold and model: model, fold, train_videos, scored_videos, best_epoch, and of the fold's scored
            tracks `ccc_*`, `low_*`, `high_*` for valence, arousal and mean.
        models: a row per model: the type of its `head`, folds, `mean` and `sd` of the folds' mean CCCs; `window_*`, the
            smoothing chosen on the training folds; and `ccc_*`, `low_*`, `high_*` with the prefixes `out_of_fold_` (all
            folds' scored tracks pooled), `val_` (fold 0), `test_` (predictions averaged over the folds' models) and,
            under these windows, `val_smoothed_` and `test_smoothed_`. None without labels.
        test: the test tracks with averaged, unsmoothed predictions by model.
        shared: groups on both sides of the official split.
        stopping: `inner` or `validation`: the tracks that stopped the trainings.
    """

    folds: list[dict[str, Any]]
    models: list[dict[str, Any]]
    test: list[TrackPredictions]
    shared: list[str] = field(default_factory=list)
    stopping: str = "validation"


def write_cross_validation(
    folder: Path, found: CrossValidated, *, out_of_fold: bool, remarks: Sequence[str] = ()
) -> str:
    """Write folds.csv, models.csv, crossval.md and predictions/<track>.parquet; return the Markdown.

    Args:
        out_of_fold: whether features of training tracks come from backbones that never saw their videos.
        remarks: sentences below the first lines.
    """
    write_csv(folder / "folds.csv", found.folds)
    write_csv(folder / "models.csv", found.models)
    shutil.rmtree(folder / "predictions", ignore_errors=True)
    for track in found.test:
        write_track_predictions(folder / "predictions" / f"{track.track}.parquet", track, found.models[0]["model"])
    groups = len({track.group for track in found.test if track.valid.any()})
    unseen = UNSEEN.format(chosen=CHOSEN if found.stopping == "validation" else "")
    text = crossval_markdown(found, groups, unseen if out_of_fold else SEEN, remarks)
    write_text(folder / "crossval.md", text)
    return text


def crossval_markdown(found: CrossValidated, test_groups: int, leakage: str, remarks: Sequence[str] = ()) -> str:
    """The rows as two Markdown tables, with an explanation."""
    scored = [row["scored_videos"] for row in found.folds if row["model"] == found.models[0]["model"]]
    fewest = min(row["effective_videos"] for row in found.folds)
    few = f" {note.capitalize()} (effectively {fewest:.1f} in a fold)." if (note := few_note(fewest)) else ""
    lines = [
        f"Pooled CCC in {len(scored)} folds that part no group of videos; fold 0 is the official split. In brackets "
        f"the 95 % interval over groups.{few} {leakage} {STOPPED[found.stopping]}",
        *(["", " ".join(remarks)] if remarks else []),
        *(["", official_leak(found.shared)] if found.shared else []),
        "",
        f"| model | fold | videos trained / scored | best epoch | valence | arousal | mean | {LABELS_ON_VALUES} |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(found.folds, key=lambda row: [entry["model"] for entry in found.models].index(row["model"])):
        cells = [row["model"], row["fold"], f"{row['train_videos']} / {row['scored_videos']}", row["best_epoch"]]
        lines.append(_line(*cells, *(_shown(row, "", target) for target in NAMES), shown_lines(row)))
    shown = f"test, predictions averaged over {len(scored)} models ({test_groups} groups of videos with labels)"
    lines += [
        "",
        f"Smoothing windows (seconds, valence / arousal) are chosen on the folds from 1 on; {shown}:",
        "",
        "| model | head | mean of folds | windows | val, mean | val, smoothed | test, valence | test, arousal "
        f"| test, mean | test, smoothed | test, {LABELS_ON_VALUES} |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in found.models:
        sd = "" if row["sd"] is None else f" ± {row['sd']:.3f}"
        cells = [
            row["model"],
            row["head"] or "–",
            f"{row['mean']:.3f}{sd}",
            f"{row['window_valence_s']:g} / {row['window_arousal_s']:g}",
        ]
        cells += [_shown(row, prefix, "mean") for prefix in ("val_", "val_smoothed_")]
        cells += [_shown(row, "test_", target) for target in NAMES] + [_shown(row, "test_smoothed_", "mean")]
        lines.append(_line(*cells, shown_lines(row, "test_")))
    return "\n".join(lines) + "\n"


def official_leak(groups: Sequence[str]) -> str:
    """What groups on both sides of the official split mean for its scores, and for the other folds."""
    return (
        f"The official split has {counted(len(groups), 'group')} on both sides ({', '.join(groups)}): fold 0 scores "
        "them too high; in the other folds they are apart."
    )


def _line(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _shown(row: Mapping[str, Any], prefix: str, target: str) -> str:
    score, low, high = (row[f"{prefix}{kind}_{target}"] for kind in ("ccc", "low", "high"))
    if score is None:
        return "–"
    return f"{score:.3f}" + ("" if low is None else f" [{low:.3f}, {high:.3f}]")
