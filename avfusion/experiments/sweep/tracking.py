"""MLflow runs of a study: one for the study, and below it one per trial with its epochs' metrics."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunStatus
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from optuna.trial import FrozenTrial, TrialState

from avfusion.experiments.sweep.objective import BEST_EPOCH, CPU_S, HISTORY, HOST
from avfusion.experiments.sweep.space import point_of
from avfusion.experiments.sweep.study import ERROR, INTERRUPTED
from avfusion.tracking.answers import check_answers
from avfusion.tracking.runs import TrackedRun, configure, provenance_tags, tracked_run
from avfusion.tracking.store import ensure_experiment, store_errors

EXPERIMENT = "avfusion-sweep"
STUDY, TRIAL = "sweep.study_key", "sweep.trial"
METRICS = 1000  # MLflow's limit of metrics per request


class StudyRuns:
    """Logs a study to the MLflow store of a project.

    Args:
        key: unique key of the study, by which a continued study finds its run.
    """

    def __init__(self, project: Path, key: str, name: str) -> None:
        self.project, self.key, self.name = project, key, name
        self.logged: set[int] = set()

    @contextmanager
    def parent(self, params: Mapping[str, object], tags: Mapping[str, str]) -> Iterator[TrackedRun]:
        """The study's run, existing or new."""
        check_answers(self.project)
        known = self._find()
        own = dict(tags) | {STUDY: self.key}
        with tracked_run(
            self.name, experiment=EXPERIMENT, run_id=known, params=params, tags=own, root=self.project
        ) as run:
            self.logged = self._logged(run.run_id)
            yield run

    def log_trial(self, parent: TrackedRun, trial: FrozenTrial) -> None:
        """Log a finished trial, once: its point, its epochs, and its end."""
        if trial.number in self.logged:
            return
        own = {TRIAL: str(trial.number), "sweep.state": trial.state.name.lower(), HOST: trial.user_attrs.get(HOST, "")}
        own |= {key: str(trial.user_attrs[key]) for key in (ERROR, INTERRUPTED) if key in trial.user_attrs}
        point = point_of(trial.params)
        # Only three requests: a study has many trials, and each request is a transaction.
        with store_errors():
            client, status = parent.client, RunStatus.FAILED if trial.state == TrialState.FAIL else RunStatus.FINISHED
            run = client.create_run(
                client.get_run(parent.run_id).info.experiment_id,
                start_time=_milliseconds(trial.datetime_start),
                tags=provenance_tags(self.project) | own | {MLFLOW_PARENT_RUN_ID: parent.run_id},
                run_name=f"trial {trial.number}, {_short(point)}",
            ).info.run_id
            params = [Param(name, str(value)) for name, value in point.items()]
            metrics = _metrics(trial)
            client.log_batch(run, metrics[:METRICS], params)
            for start in range(METRICS, len(metrics), METRICS):
                client.log_batch(run, metrics[start : start + METRICS])
            client.set_terminated(run, RunStatus.to_string(status), end_time=_milliseconds(trial.datetime_complete))
        self.logged.add(trial.number)

    def _find(self) -> str | None:
        with store_errors():
            client = MlflowClient(configure(self.project))
            experiment = ensure_experiment(client, self.project, EXPERIMENT)
            found = client.search_runs([experiment], f"tags.`{STUDY}` = '{self.key}'", max_results=1)
        return found[0].info.run_id if found else None

    def _logged(self, parent: str) -> set[int]:
        with store_errors():
            client = MlflowClient(configure(self.project))
            experiment = ensure_experiment(client, self.project, EXPERIMENT)
            query, token = f"tags.`mlflow.parentRunId` = '{parent}'", None
            numbers: set[int] = set()
            while True:
                page = client.search_runs([experiment], query, max_results=1000, page_token=token)
                numbers |= {int(run.data.tags[TRIAL]) for run in page if TRIAL in run.data.tags}
                token = page.token
                if not token:
                    return numbers


def _metrics(trial: FrozenTrial) -> list[Metric]:
    """Every epoch's numbers at its step, and the trial's result."""
    now = int(time.time() * 1000)
    final = {"best/epoch": trial.user_attrs.get(BEST_EPOCH), "cpu_s": trial.user_attrs.get(CPU_S)}
    if trial.state == TrialState.COMPLETE:
        final["best/val_ccc_mean"] = trial.value
    rows = [*trial.user_attrs.get(HISTORY, ()), {"epoch": 0} | final]
    return [
        Metric(key, float(value), now, int(row["epoch"]))
        for row in rows
        for key, value in row.items()
        if key != "epoch" and value is not None
    ]


def _milliseconds(when: datetime | None) -> int | None:
    return None if when is None else int(when.timestamp() * 1000)


def _short(point: Mapping[str, Any]) -> str:
    lr = f", lr {point['lr']:g}" if "lr" in point else ""
    return f"{point.get('model', 'as params.yaml')}{lr}"
