"""MLflow runs of a study: one for the study, and below it one per trial with its epochs' metrics."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import RunStatus
from optuna.trial import FrozenTrial, TrialState

from avfusion.sweep.objective import BEST_EPOCH, CPU_S, HISTORY, HOST
from avfusion.sweep.space import point_of
from avfusion.sweep.study import ERROR, INTERRUPTED
from avfusion.tracking.runs import TrackedRun, configure, tracked_run
from avfusion.tracking.store import ensure_experiment, store_errors

EXPERIMENT = "avfusion-sweep"
STUDY, TRIAL = "sweep.study_key", "sweep.trial"


class StudyRuns:
    """Logs a study to the MLflow store of a project.

    Args:
        project: whose store is used.
        key: of the study, unique; a study that goes on finds its run by it.
        name: what the study's run is called.
    """

    def __init__(self, project: Path, key: str, name: str) -> None:
        self.project, self.key, self.name = project, key, name
        self.logged: set[int] = set()

    @contextmanager
    def parent(self, params: Mapping[str, object], tags: Mapping[str, str]) -> Iterator[TrackedRun]:
        """The study's run, new or the one that it has."""
        known = self._find()
        own = dict(tags) | {STUDY: self.key}
        with tracked_run(
            self.name, experiment=EXPERIMENT, run_id=known, params=params, tags=own, root=self.project
        ) as run:
            self.logged = self._logged(run.run_id)
            yield run

    def log_trial(self, parent: TrackedRun, trial: FrozenTrial) -> None:
        """Log a finished trial, once: its point, its epochs, and how it ended."""
        if trial.number in self.logged:
            return
        tags = {TRIAL: str(trial.number), "sweep.state": trial.state.name.lower(), HOST: trial.user_attrs.get(HOST, "")}
        tags |= {key: trial.user_attrs[key] for key in (ERROR, INTERRUPTED) if key in trial.user_attrs}
        point = point_of(trial.params)
        with (
            store_errors(),
            tracked_run(
                f"trial {trial.number}, {_short(point)}",
                experiment=EXPERIMENT,
                parent=parent,
                params=point,
                tags=tags,
                root=self.project,
            ) as run,
        ):
            run.log_history(trial.user_attrs.get(HISTORY, ()))
            final = {"best/epoch": trial.user_attrs.get(BEST_EPOCH), "cpu_s": trial.user_attrs.get(CPU_S)}
            if trial.state == TrialState.COMPLETE:
                final["best/val_ccc_mean"] = trial.value
            run.log_metrics({key: value for key, value in final.items() if value is not None})
        if trial.state == TrialState.FAIL:
            with store_errors():
                run.client.set_terminated(run.run_id, RunStatus.to_string(RunStatus.FAILED))
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


def _short(point: Mapping[str, Any]) -> str:
    lr = f", lr {point['lr']:g}" if "lr" in point else ""
    return f"{point.get('model', 'as params.yaml')}{lr}"
