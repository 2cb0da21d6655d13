"""The runs of one training: a parent, a nested run per model, found again after an interruption and by `evaluate`."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from avfusion.atomic import write_json
from avfusion.tracking.model import log_fusion_model
from avfusion.tracking.runs import TrackedRun, configure, tracked_run


class TrainingRuns:
    """Opens the runs of a training whose ids are kept in `book`, so that a killed training continues its runs.

    Args:
        book: JSON file of the ids, in the training's work folder.
        params: of every run.
        tags: of every run.
        datasets: name → (digest, path, use) of the data that every run reads.
    """

    def __init__(
        self,
        root: Path,
        book: Path,
        params: Mapping[str, object],
        tags: Mapping[str, str],
        datasets: Mapping[str, tuple[str, Path, str]],
    ) -> None:
        self.root, self.book = root, book
        self.params, self.tags, self.datasets = params, tags, datasets
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
        with tracked_run(name, run_id=known, parent=parent, params=self.params, tags=self.tags, root=self.root) as run:
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


def log_evaluation(
    root: Path, record: Path, metrics: Mapping[str, Mapping[str, Any]], pictures: Mapping[str, list[Path]]
) -> list[str]:
    """Add scores with intervals (`val/ccc_mean`, `val/ci95_mean_low`, …) and pictures to the runs of a training.

    Args:
        record: reports/train/run.json.
        metrics: contents of reports/evaluate/metrics.json.
        pictures: files by model.

    Returns:
        Models whose run is in the store; the others were trained elsewhere.
    """
    if not record.is_file():
        return []
    client = MlflowClient(configure(root))
    logged = []
    for name, entry in json.loads(record.read_text(encoding="utf-8"))["runs"].items():
        try:
            client.get_run(entry["run_id"])
        except MlflowException:
            continue
        run = TrackedRun(client, entry["run_id"], root)
        run.log_metrics({key: value for split in metrics for key, value in _flat(split, metrics[split].get(name, {}))})
        for picture in pictures.get(name, []):
            run.log_artifact(picture, "evaluate")
        logged.append(name)
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
