"""MLflow runs for training: nested, tagged with their origin, and continued after an interruption."""

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from avfusion.runtime.project import project_root
from avfusion.tracking.answers import check_answers
from avfusion.tracking.store import EXPERIMENT, configure, ensure_experiment, is_missing, refuse_elsewhere, store_errors

__all__ = ["EXPERIMENT", "TrackedRun", "configure", "flatten", "provenance_tags", "run_exists", "tracked_run"]

BATCH = 100  # MLflow's limit of params and tags per request
DIGEST_LENGTH = 36  # MLflow's limit of a data set's digest


class TrackedRun:
    """A run in progress: a `RunLogger` for training that also records data sets and the model."""

    def __init__(self, client: MlflowClient, run_id: str, root: Path) -> None:
        self.client = client
        self.run_id = run_id
        self.root = root
        run = client.get_run(run_id)
        refuse_elsewhere(root, run.info.artifact_uri)
        self._params = dict(run.data.params)

    def log_params(self, params: Mapping[str, object]) -> None:
        """Record parameters, nested mappings flattened with dots.

        MLflow never changes a parameter's first value, so a continued run keeps its initial values; the tag
        `resumed.params` lists values that differ now.
        """
        given = {key: _text(value) for key, value in flatten(params).items()}
        new = {key: value for key, value in given.items() if key not in self._params}
        changed = {key: value for key, value in given.items() if self._params.get(key, value) != value}
        if changed:
            self.set_tags({"resumed.params": json.dumps(changed, sort_keys=True)})
        entries = [Param(key, value) for key, value in new.items()]
        for start in range(0, len(entries), BATCH):
            self.client.log_batch(self.run_id, params=entries[start : start + BATCH])
        self._params.update(new)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record numbers at a step (epoch, from 1), without None values."""
        now = int(time.time() * 1000)
        entries = [
            Metric(key, float(value), now, 0 if step is None else step)
            for key, value in metrics.items()
            if value is not None
        ]
        if entries:
            self.client.log_batch(self.run_id, metrics=entries)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Record words about the run."""
        entries = [RunTag(key, str(value)) for key, value in tags.items()]
        for start in range(0, len(entries), BATCH):
            self.client.log_batch(self.run_id, tags=entries[start : start + BATCH])

    def log_artifact(self, path: str | Path, folder: str = "") -> None:
        """Copy a file, or the contents of a folder, into the run's folder `folder`."""
        if Path(path).is_dir():
            self.client.log_artifacts(self.run_id, str(path), folder or None)
        else:
            self.client.log_artifact(self.run_id, str(path), folder or None)

    def log_dataset(self, name: str, digest: str, path: str | Path, context: str) -> None:
        """Record an input data set: its name, the digest of its contents, its path, and its use (`training`, …)."""
        source = json.dumps({"uri": Path(path).as_posix()})
        dataset = Dataset(name=name, digest=digest[:DIGEST_LENGTH], source_type="local", source=source)
        use = InputTag(key="mlflow.data.context", value=context)
        self.client.log_inputs(self.run_id, [DatasetInput(dataset=dataset, tags=[use])])

    def last_step(self, metric: str) -> int | None:
        """The highest recorded step of a metric, None if there is none."""
        return max((entry.step for entry in self.client.get_metric_history(self.run_id, metric)), default=None)


@contextmanager
def tracked_run(
    name: str,
    *,
    experiment: str = EXPERIMENT,
    run_id: str | None = None,
    parent: TrackedRun | str | None = None,
    params: Mapping[str, object] | None = None,
    tags: Mapping[str, str] | None = None,
    root: Path | None = None,
) -> Iterator[TrackedRun]:
    """Open a new run, or the unfinished `run_id` if the store still has it.

    It is the process's active MLflow run inside the block and ends FINISHED, or FAILED if the block raises. A run of a
    killed process stays RUNNING in the store and is continued by its id. It keeps the provenance tags of its first
    code; `resumed.git.commit` names the last commit that continued it.

    Args:
        parent: the run, or its id, under which this one is shown.
        root: the project whose store is used; default: the one around the working directory.
    """
    root = project_root() if root is None else Path(root)
    parent_id = parent.run_id if isinstance(parent, TrackedRun) else parent
    nested = mlflow.active_run() is not None or parent_id is not None
    check_answers(root)
    with store_errors():
        client = MlflowClient(configure(root))
        resumed = run_id is not None and run_exists(client, run_id)
        if resumed and run_id is not None:
            refuse_elsewhere(root, client.get_run(run_id).info.artifact_uri)
            active = mlflow.start_run(run_id=run_id, nested=nested)
        else:
            experiment_id = ensure_experiment(client, root, experiment)
            active = mlflow.start_run(
                experiment_id=experiment_id, run_name=name, nested=nested, parent_run_id=parent_id
            )
    try:
        run = TrackedRun(client, active.info.run_id, root)
        origin = provenance_tags(root)
        if resumed:
            origin = {f"resumed.{key}": value for key, value in origin.items() if key == "git.commit"}
        run.set_tags(origin | dict(tags or {}))
        run.log_params(params or {})
        yield run
    except BaseException:
        with suppress(MlflowException):  # the store may be unreachable or full; the block's own error says why
            mlflow.end_run("FAILED")
        raise
    with store_errors():
        mlflow.end_run("FINISHED")


def run_exists(client: MlflowClient, run_id: str) -> bool:
    """Whether the store has the run, not deleted."""
    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "active")
    except MlflowException as error:
        if is_missing(error):
            return False
        raise


def provenance_tags(root: Path) -> dict[str, str]:
    """Provenance of a result: git commit and whether the tree differs from it, DVC stage, experiment and lock."""
    tags = {}
    if commit := _git(root, "rev-parse", "HEAD"):
        tags["git.commit"] = commit
        tags["git.dirty"] = str(bool(_git(root, "status", "--porcelain", "--untracked-files=no"))).lower()
    if stage := os.environ.get("DVC_STAGE"):
        tags["dvc.stage"] = stage
    if experiment := os.environ.get("DVC_EXP_NAME"):
        tags["dvc.exp"] = experiment
    if (lock := root / "dvc.lock").is_file():
        tags["dvc.lock.md5"] = hashlib.md5(lock.read_bytes(), usedforsecurity=False).hexdigest()
    return tags


def flatten(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Nested mappings as one, keys joined with dots: `{"train": {"lr": 1}}` becomes `{"train.lr": 1}`."""
    flat: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping | Sequence) or value is None or isinstance(value, bool):
        return json.dumps(value, sort_keys=True, default=str)
    return str(value)


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
