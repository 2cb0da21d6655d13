"""Results of a study: a table of its trials, the best point, and that point in params.yaml."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from avfusion.experiments.sweep.objective import BEST_EPOCH, CPU_S, HISTORY, HOST
from avfusion.experiments.sweep.space import SearchSpace, point_of
from avfusion.experiments.sweep.study import ERROR, INTERRUPTED, retries
from avfusion.params.params import check_params, load_params
from avfusion.params.yaml_text import with_values
from avfusion.reports.report import write_csv
from avfusion.runtime.atomic import write_text
from avfusion.training.settings import TrainSettings

COLUMNS = ("trial", "state", "val_ccc_mean", "best_epoch", "epochs", "seconds", "cpu_s", "host", "tries_again", "error")


def best_of(trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """The completed trial with the highest score, the earliest of equals; None without a completed trial."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    return max(complete, key=lambda trial: (trial.values[0], -trial.number), default=None)


def write_trials(path: Path, trials: Sequence[FrozenTrial], names: Sequence[str]) -> None:
    """CSV with a row per trial: its end, its score, and its parameters (empty: not drawn)."""
    write_csv(path, [_row(trial) for trial in trials], (*COLUMNS, *names))


def _row(trial: FrozenTrial) -> dict[str, Any]:
    attributes = trial.user_attrs
    history = attributes.get(HISTORY, ())
    score = trial.value if trial.state == TrialState.COMPLETE else None
    if trial.state == TrialState.PRUNED and history:
        score = max(row["val_ccc_mean"] for row in history)
    return {
        "trial": trial.number,
        "state": trial.state.name.lower(),
        "val_ccc_mean": score,
        "best_epoch": attributes.get(BEST_EPOCH),
        "epochs": len(history) or None,
        "seconds": trial.duration.total_seconds() if trial.duration else None,
        "cpu_s": attributes.get(CPU_S),
        "host": attributes.get(HOST),
        "tries_again": " ".join(map(str, retries(trial))),
        "error": attributes.get(ERROR) or attributes.get(INTERRUPTED),
        **point_of(trial.params),
    }


def train_changes(space: SearchSpace, point: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of section `train` with which the stage trains a point."""
    config = space.train_config(point)
    changes = {"model": config.model, "options": config.options}
    return changes | {name: point[name] for name in point if name in TrainSettings.model_fields}


def write_best(path: Path, study: Study, trial: FrozenTrial, changes: Mapping[str, Any]) -> None:
    """YAML of the best point, in the form of params.yaml."""
    attributes = trial.user_attrs
    head = (
        f"# Trial {trial.number} of study {study.study_name}: mean validation CCC {trial.values[0]:.4f} at epoch "
        f"{attributes.get(BEST_EPOCH)}.\n# `avfusion sweep --apply` writes this into params.yaml.\n"
    )
    write_text(path, head + yaml.safe_dump({"train": dict(changes)}, sort_keys=False))


def apply_changes(path: Path, changes: Mapping[str, Any]) -> list[str]:
    """Write values into section `train` of params.yaml, keep everything else; return the changes in words.

    Raises:
        BadInputError: params.yaml is invalid, or would be with these values.
    """
    before = load_params(path, ["train"]).train
    text = with_values(path.read_text(encoding="utf-8"), "train", changes)
    after = check_params(yaml.safe_load(text), ["train"], source=path.name).train
    changed = [
        f"train.{name}: {_word(getattr(before, name))} → {_word(getattr(after, name))}"
        for name in TrainSettings.model_fields
        if getattr(before, name) != getattr(after, name)
    ]
    if changed:
        write_text(path, text)
    return changed


def _word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
