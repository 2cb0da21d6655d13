"""The interface of an experiment tracker for training; the tracker itself is in `avfusion.tracking`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol


class RunLogger(Protocol):
    """One run of an experiment tracker: metrics over steps, tags, files."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record numbers; `step` is the epoch, from 1."""

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Record words about the run."""

    def log_artifact(self, path: str | Path, folder: str = "") -> None:
        """Copy a file into the run's folder `folder`."""

    def last_step(self, metric: str) -> int | None:
        """The highest recorded step of a metric, None if there is none."""


class StoppingNames:
    """Passes on to a run, with the scores of each epoch named for the inner stopping split that they are scores of."""

    def __init__(self, run: RunLogger) -> None:
        self._run = run

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record numbers; `val_ccc_mean` becomes `stopping_ccc_mean`."""
        self._run.log_metrics({_stopping_name(name): value for name, value in metrics.items()}, step)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Record words about the run."""
        self._run.set_tags(tags)

    def log_artifact(self, path: str | Path, folder: str = "") -> None:
        """Copy a file into the run's folder."""
        self._run.log_artifact(path, folder)

    def last_step(self, metric: str) -> int | None:
        """The highest recorded step of a metric."""
        return self._run.last_step(_stopping_name(metric))


def _stopping_name(metric: str) -> str:
    return metric.replace("val_ccc", "stopping_ccc")


class NullLogger:
    """Records nothing: for tests, folds and comparisons."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Do nothing."""

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Do nothing."""

    def log_artifact(self, path: str | Path, folder: str = "") -> None:
        """Do nothing."""

    def last_step(self, metric: str) -> int | None:
        """Nothing is recorded."""
        return None
