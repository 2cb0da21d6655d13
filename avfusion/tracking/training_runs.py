"""The runs of one training: a parent, a nested run per model, found again after an interruption and by `evaluate`."""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import RunStatus
from mlflow.exceptions import MlflowException

from avfusion.runtime.atomic import write_json
from avfusion.tracking.model import log_fusion_model
from avfusion.tracking.runs import TrackedRun, configure, run_exists, tracked_run
from avfusion.tracking.store import is_missing, store_errors


class TrainingRuns:
    """Opens the runs of a training whose ids are kept in `book`, so that a killed training continues its runs.

    Args:
        book: JSON file of the ids, in the training's work folder.
        params: of every run.
        tags: of every run.
        datasets: name → (digest, path, use) of the data that every run reads.
        label: what tells this training from others where runs are compared; ends the runs' names.
    """

    def __init__(
        self,
        root: Path,
        book: Path,
        params: Mapping[str, object],
        tags: Mapping[str, str],
        datasets: Mapping[str, tuple[str, Path, str]],
        label: str = "",
    ) -> None:
        self.root, self.book = root, book
        self.params, self.tags, self.datasets = params, tags, datasets
        self.label = label
        self.ids: dict[str, str] = json.loads(book.read_text(encoding="utf-8")) if book.is_file() else {}
        self.uris: dict[str, str] = {}

    @contextmanager
    def parent(self) -> Iterator[TrackedRun]:
        """The run that the models' runs are shown under."""
        with self._open("train", None) as run:
            yield run

    @contextmanager
    def model(self, name: str) -> Iterator[TrackedRun]:
        """The run of one model."""
        with self._open(name, self.ids["train"]) as run:
            run.log_params({"model": name})
            yield run

    @contextmanager
    def _open(self, name: str, parent: str | None) -> Iterator[TrackedRun]:
        known = self.ids.get(name)
        title = f"{name}, {self.label}" if self.label else name
        with tracked_run(title, run_id=known, parent=parent, params=self.params, tags=self.tags, root=self.root) as run:
            if run.run_id != known:
                self.ids[name] = run.run_id
                write_json(self.book, self.ids)
                for data, (digest, path, use) in self.datasets.items():
                    run.log_dataset(data, digest, path, use)
            yield run

    def finish_model(self, name: str, run: TrackedRun, folder: Path, metrics: Mapping[str, Any]) -> None:
        """Log a trained model's files and final scores (`best/…`), once."""
        self.uris[name] = log_fusion_model(run, folder)
        if run.last_step("best/epoch") is None:
            scores = {
                f"best/{split}_{key}": value for split in ("train", "val") for key, value in metrics[split].items()
            }
            run.log_metrics(scores | {"best/epoch": metrics["best_epoch"]})

    def record(self, digests: Mapping[str, str]) -> dict[str, Any]:
        """Contents of reports/train/run.json."""
        runs = {name: {"run_id": self.ids[name], "model_uri": uri} for name, uri in self.uris.items()}
        return {"parent": self.ids["train"], "runs": runs, "inputs": dict(digests)}


def discard_other_trainings(root: Path, folder: Path, kept: Path) -> None:
    """Delete the work of trainings with other parameters or inputs; runs that they left running end as KILLED.

    Args:
        folder: holds a folder per training, its `run.json` inside; what is no folder stays.
        kept: the training to keep.
    """
    for other in sorted(folder.iterdir()):
        if other == kept or other.is_symlink() or not other.is_dir():
            continue
        book = other / "run.json"
        if book.is_file():
            _end_runs(root, json.loads(book.read_text(encoding="utf-8")).values())
        shutil.rmtree(other)


def _end_runs(root: Path, run_ids: Iterable[str]) -> None:
    running, killed = (RunStatus.to_string(status) for status in (RunStatus.RUNNING, RunStatus.KILLED))
    with store_errors():
        client = MlflowClient(configure(root))
        for run_id in run_ids:
            try:
                if client.get_run(run_id).info.status == running:
                    client.set_terminated(run_id, killed)
            except MlflowException as error:
                if not is_missing(error):
                    raise


def log_evaluation(
    root: Path,
    record: Path,
    metrics: Mapping[str, Mapping[str, Any]],
    files: Mapping[str, list[Path]],
    *,
    tag: tuple[str, str] = ("", ""),
) -> list[str]:
    """Add scores with intervals (`val/ccc_mean`, `val/ci95_mean_low`, …) and files to the runs of a training.

    Args:
        record: reports/train/run.json.
        metrics: contents of reports/evaluate/metrics.json.
        files: pictures and facts by model.
        tag: name and value that a run gets when it has all this; a run that has it already is left as it is.

    Returns:
        Models whose run is in the store; the others were trained elsewhere, or their runs were deleted.

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
            run.log_metrics({key: value for split in scores for key, value in _flat(split, scores[split])})
            for path in files.get(name, []):
                run.log_artifact(path, "evaluate")
            if tag[0]:
                run.set_tags(dict([tag]))
    return logged


def _flat(prefix: str, entry: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for key, value in entry.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{prefix}/{key}", value)
        elif isinstance(value, list | tuple):
            yield f"{prefix}/{key}_low", value[0]
            yield f"{prefix}/{key}_high", value[1]
        elif value is not None:
            yield f"{prefix}/{key}", value
