"""What the stages log to the runs of a training: the trained models, and their evaluation."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import RunStatus

from avfusion.tracking.model import log_fusion_model
from avfusion.tracking.runs import TrackedRun, configure, run_exists
from avfusion.tracking.store import EXPERIMENT, ensure_experiment, store_errors


def log_trained_model(run: TrackedRun, folder: Path, metrics: Mapping[str, Any]) -> str:
    """Log a trained model's files and final scores (`best/…`), once; returns the model's URI."""
    uri = log_fusion_model(run, folder)
    if run.last_step("best/epoch") is None:
        splits = [split for split in ("train", "stopping", "val") if split in metrics]
        scores = {f"best/{split}_{key}": value for split in splits for key, value in metrics[split].items()}
        run.log_metrics(scores | {"best/epoch": metrics["best_epoch"]})
    return uri


def end_other_runs(root: Path, folder: Path, kept: Path) -> None:
    """End the runs that other trainings left running as KILLED; a later call with their params continues them.

    Args:
        folder: holds a book of runs (`runs-….json`) for every training of the stage.
    """
    books = [book for book in folder.glob("runs-*.json") if book != kept]
    others = {run_id for book in books for run_id in json.loads(book.read_text(encoding="utf-8")).values()}
    if not others:
        return
    running, killed = (RunStatus.to_string(status) for status in (RunStatus.RUNNING, RunStatus.KILLED))
    with store_errors():
        client = MlflowClient(configure(root))
        experiment = ensure_experiment(client, root, EXPERIMENT)
        for run in client.search_runs([experiment], f"attributes.status = '{running}'", max_results=1000):
            if run.info.run_id in others:
                client.set_terminated(run.info.run_id, killed)


def log_evaluation(
    root: Path,
    record: Path,
    metrics: Mapping[str, Mapping[str, Any]],
    files: Mapping[str, list[Path]],
    *,
    tag: tuple[str, str] = ("", ""),
) -> list[str]:
    """Add scores with intervals (`val/ccc_mean`, `val/ci95_mean_low`, …) and files to a training's runs.

    What metrics.json has in words becomes tags, as `val/seen_data`.

    Args:
        record: reports/train/run.json.
        metrics: contents of reports/evaluate/metrics.json.
        files: pictures and facts by model.
        tag: name and value of a tag that marks finished runs; runs with the tag are skipped.

    Returns:
        Models with a run in the store; others were trained elsewhere, or their runs were deleted.

    Raises:
        AVFusionError: the store cannot be used.
    """
    if not record.is_file():
        return []
    logged = []
    with store_errors():
        client = MlflowClient(configure(root))
        for name, entry in json.loads(record.read_text(encoding="utf-8"))["runs"].items():
            if not run_exists(client, entry["run_id"]):
                continue
            logged.append(name)
            if tag[0] and client.get_run(entry["run_id"]).data.tags.get(tag[0]) == tag[1]:
                continue
            run = TrackedRun(client, entry["run_id"], root)
            scores = {split: metrics[split].get(name, {}) for split in metrics}
            flat = {key: value for split in scores for key, value in _flat(split, scores[split])}
            run.log_metrics({key: value for key, value in flat.items() if not isinstance(value, str)})
            if words := {key: value for key, value in flat.items() if isinstance(value, str)}:
                run.set_tags(words)
            for path in files.get(name, []):
                run.log_artifact(path, "evaluate")
            if tag[0]:
                run.set_tags(dict([tag]))
    return logged


def _flat(prefix: str, entry: Mapping[str, Any]) -> Iterator[tuple[str, float | str]]:
    for key, value in entry.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{prefix}/{key}", value)
        elif isinstance(value, list | tuple):
            yield f"{prefix}/{key}_low", value[0]
            yield f"{prefix}/{key}_high", value[1]
        elif value is not None:
            yield f"{prefix}/{key}", value
