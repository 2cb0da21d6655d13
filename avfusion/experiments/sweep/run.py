"""Run a sweep on this machine: start and watch workers, log and report ended trials, and write the study's report."""

import socket
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial
from rich.console import Console

from avfusion.experiments.sweep.crew import Hand, Interrupts
from avfusion.experiments.sweep.objective import HOST
from avfusion.experiments.sweep.plots import plot_study
from avfusion.experiments.sweep.progress import print_table, trial_line
from avfusion.experiments.sweep.results import best_of, train_changes, write_best, write_trials
from avfusion.experiments.sweep.space import SearchSpace, point_of
from avfusion.experiments.sweep.storage import STORAGE_ERRORS, open_storage, public_url, storage_errors
from avfusion.experiments.sweep.study import KEY, enqueue_paper, fail_stale, open_study, standing
from avfusion.experiments.sweep.tracking import StudyRuns
from avfusion.experiments.sweep.worker import WorkerTask
from avfusion.experiments.training import TrainingInputs, read_inputs
from avfusion.params.params import Params
from avfusion.runtime.errors import AVFusionError
from avfusion.runtime.progress import TaskProgress
from avfusion.tracking.runs import TrackedRun

LOOK_S = 5.0
"""Seconds between requests for trials that ended, here or elsewhere."""


@dataclass
class StudyRun:
    """A sweep of the study `params.sweep.study`, run by this machine's workers until it has enough trials.

    Attributes:
        root: the workspace with the features; reports/sweep/ is written below it.
        project: the project whose MLflow store is used.
        params: sections corpus, geometry, train and sweep.
        url: URL of the storage.
        trials: required number of finished trials of the study, over all machines and calls.
        workers: number of processes on this machine.
    """

    root: Path
    project: Path
    params: Params
    url: str = field(repr=False)
    trials: int
    workers: int = 1
    console: Console = field(default_factory=lambda: Console(highlight=False, soft_wrap=True))
    _warned: bool = False

    def run(self) -> dict[str, Any] | None:
        """Run the study; return the changes to section `train` for the best point, None without a completed trial.

        Ctrl-C stops it after the current epochs and queues the running trials again; a second Ctrl-C stops it at once.

        Raises:
            BadInputError: the study was begun with other data, models or settings.
            AVFusionError: storage, features or MLflow store cannot be used, or all workers died.
            KeyboardInterrupt: it was interrupted; study and report are in order.
        """
        started = time.perf_counter()
        space = SearchSpace.of(self.params.sweep.space, self.params.train)
        inputs = read_inputs(self.root, self.params.geometry, stopping=self.params.train.stopping)
        inputs.refuse_models(space.models(), self.params.geometry)
        identity = self._identity(space, inputs)
        with storage_errors(public_url(self.url)):
            storage = open_storage(self.url, self.params.sweep.heartbeat)
            study = open_study(storage, self.params.sweep, space, identity)
            if KEY not in study.user_attrs:
                study.set_user_attr(KEY, uuid.uuid4().hex)
            fail_stale(study)
            outside = enqueue_paper(study, space)
            known = standing(study.get_trials(deepcopy=False)).finished
            self._say(
                f"study {study.study_name} in {public_url(self.url)}: {known} of {self.trials} trials are finished"
            )
            if outside:
                self._say(f"the paper's point is not in the space ({', '.join(outside)}) and is not tried first")
            runs = StudyRuns(self.project, study.user_attrs[KEY], f"study {study.study_name}")
            with runs.parent(self._logged_params(), self._tags(study, inputs)) as parent, Interrupts() as interrupts:
                if known < self.trials:
                    self._work(study, runs, parent, interrupts)
                self._log(study.get_trials(deepcopy=False), runs, parent)
                changes = self._report(study, space, parent)
        now = standing(study.get_trials(deepcopy=False))
        self._say(f"{now.finished} of {self.trials} trials finished; {time.perf_counter() - started:.0f} s")
        if interrupts.count:
            raise KeyboardInterrupt
        return changes

    def _identity(self, space: SearchSpace, inputs: TrainingInputs) -> dict[str, Any]:
        """The facts that make scores of a study comparable."""
        return {
            "features and labels": {key: value[:12] for key, value in sorted(inputs.digests.items())},
            "feature spec": inputs.feature_spec.digest()[:12],
            "geometry": self.params.geometry.model_dump(mode="json"),
            "train": space.fixed_values(),
            "code": space.code_digest()[:12],
        }

    def _work(self, study: optuna.Study, runs: StudyRuns, parent: TrackedRun, interrupts: "Interrupts") -> None:
        """Watch the workers until each has returned, and report trials that end meanwhile."""
        before = study.get_trials(deepcopy=False)
        known = standing(before).finished
        told = {trial.number for trial in before if trial.state.is_finished()}
        task = WorkerTask(self.root, self.params, self.url, self.trials, study.user_attrs[KEY])
        crew = [Hand(replace(task, index=index)) for index in range(self.workers)]
        try:
            with TaskProgress(f"sweep {study.study_name}", [1.0] * (self.trials - known), self.console) as progress:
                busy: list[Any] = crew
                while busy:
                    wait([hand.worker for hand in busy], LOOK_S)
                    for hand in busy:
                        hand.look(self._say)
                    busy = [hand for hand in crew if hand.busy]
                    interrupts.pass_on(busy, self._say)
                    if (trials := self._trials(study)) is not None:
                        self._tell(trials, told)
                        self._log(trials, runs, parent)
                        while progress.done < min(standing(trials).finished - known, progress.total):
                            progress.advance(1.0)
                    progress.tick()
        finally:
            for hand in crew:
                hand.worker.stop()
        errors = [hand.error for hand in crew if hand.error]
        if errors and standing(study.get_trials(deepcopy=False)).finished < self.trials and not interrupts.count:
            raise errors[0]

    def _trials(self, study: optuna.Study) -> list[FrozenTrial] | None:
        """All trials; None while the storage is away."""
        try:
            return study.get_trials(deepcopy=False)
        except STORAGE_ERRORS:
            return None

    def _tell(self, trials: Sequence[FrozenTrial], told: set[int]) -> None:
        """Report trials that ended since the last call."""
        best = best_of(trials)
        for trial in trials:
            if trial.state.is_finished() and trial.number not in told:
                told.add(trial.number)
                self._say(trial_line(trial, best))

    def _log(self, trials: Sequence[FrozenTrial], runs: StudyRuns, parent: TrackedRun) -> None:
        """Log this machine's finished trials; if the MLflow store is away, they are logged later."""
        own = [trial for trial in trials if trial.user_attrs.get(HOST) == socket.gethostname()]
        try:
            for trial in own:
                if trial.state.is_finished():
                    runs.log_trial(parent, trial)
        except AVFusionError as error:
            if not self._warned:
                self._say(f"{error}; the trials are logged when it can be used again")
            self._warned = True

    def _report(self, study: optuna.Study, space: SearchSpace, parent: TrackedRun) -> dict[str, Any] | None:
        folder = self.root / "reports" / "sweep"
        trials = study.get_trials(deepcopy=False)
        write_trials(folder / "trials.csv", trials, list(space.dimensions))
        files = [folder / "trials.csv", *plot_study(folder, study, space)]
        best = best_of(trials)
        print_table(self.console, trials)
        changes = None
        if best is not None:
            changes = train_changes(space, point_of(best.params))
            write_best(folder / "best_params.yaml", study, best, changes)
            files.append(folder / "best_params.yaml")
            parent.log_metrics({"best/val_ccc_mean": best.values[0], "best/trial": best.number, "trials": len(trials)})
        for path in files:
            parent.log_artifact(path)
        return changes

    def _logged_params(self) -> dict[str, Any]:
        sections = self.params.to_dict()
        return {name: sections[name] for name in ("corpus", "geometry", "train", "sweep") if name in sections}

    def _tags(self, study: optuna.Study, inputs: TrainingInputs) -> dict[str, str]:
        seen = inputs.seen_data(self.params.corpus.name)
        return {
            "corpus": self.params.corpus.name,
            "feature_spec": inputs.feature_spec.digest()[:12],
            "stopping": inputs.stopping_split,
            **({"seen_data": seen.mark} if seen.mark else {}),
            "sweep.study": study.study_name,
            "sweep.storage": public_url(self.url),
        }

    def _say(self, line: str) -> None:
        self.console.print(line, markup=False)
