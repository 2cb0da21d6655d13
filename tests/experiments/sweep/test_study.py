"""Studies: begun once, checked when they go on, counted, and worked on through faults."""

import math
import subprocess
import sys
import threading
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from avfusion.experiments.settings import SweepSettings
from avfusion.experiments.sweep.objective import InterruptedTrialError
from avfusion.experiments.sweep.space import SearchSpace
from avfusion.experiments.sweep.storage import open_storage
from avfusion.experiments.sweep.study import INTERRUPTED, Standing, enqueue_paper, open_study, retried, standing
from avfusion.experiments.sweep.worker import work
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.training.settings import TrainSettings

STOP = threading.Event()


def score(trial: optuna.Trial) -> float:
    return -abs(trial.suggest_float("lr", 1e-5, 1e-2, log=True) - 1e-3)


def test_a_study_goes_on_only_with_what_it_was_begun_with(
    study: optuna.Study, space: SearchSpace, database: str
) -> None:
    config = SweepSettings(pruner="none")
    assert open_study(open_storage(database, 1), config, space, {"features": "a"}).user_attrs == study.user_attrs
    with pytest.raises(BadInputError, match=r'study fusion was begun with something else.*features was "a", is "b".*'):
        open_study(open_storage(database, 1), config, space, {"features": "b"})
    open_study(open_storage(database, 1), SweepSettings(study="other"), space, {"features": "b"})


def test_a_choice_changed_within_a_study_is_refused(study: optuna.Study, space: SearchSpace, database: str) -> None:
    space.suggest(study.ask({}))

    def again(**dimensions: object) -> None:
        written = {"model": ["jca", "concat"], "lr": {"low": 1e-5, "high": 1e-2, "log": True}} | dimensions
        changed = SearchSpace.of(written, TrainSettings())
        open_study(open_storage(database, 1), SweepSettings(), changed, {"features": "a"})

    again(lr={"low": 1e-6, "high": 1.0, "log": True})
    with pytest.raises(BadInputError, match=r"sweep\.space\.model is a choice of concat, jca, but study fusion has "):
        again(model=["concat", "jca"])
    with pytest.raises(BadInputError, match=r"space\.lr is 1e-05 to 0\.01, but .* 1e-05 to 0\.01, logarithmic"):
        again(lr={"low": 1e-5, "high": 1e-2})
    with pytest.raises(BadInputError, match=r"lr is a choice of 0\.001, 0\.01, but .* give sweep\.study another name"):
        again(lr=[1e-3, 1e-2])


def test_the_papers_point_is_tried_first_and_once(study: optuna.Study, space: SearchSpace) -> None:
    assert enqueue_paper(study, space) == []
    seen: list[dict[str, object]] = []
    work(study, lambda trial: float(len(seen.append(space.suggest(trial)) or seen)), 2, STOP)
    assert enqueue_paper(study, space) == []
    assert seen[0] == {"model": "jca", "encoder_width": 128, "k": 32, "dropout": 0.6, "lr": 1e-4, "batch_size": 64}
    assert seen[1] != seen[0]
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 2


def test_a_trial_is_drawn_by_seed_and_number(space: SearchSpace, tmp_path: Path) -> None:
    def points(name: str, seed: int, calls: list[int]) -> list[dict[str, object]]:
        for trials in calls:
            url = f"sqlite:///{tmp_path / name}.db"
            again = open_study(open_storage(url, 30), SweepSettings(seed=seed, startup_trials=3, pruner="none"), space)
            work(again, lambda trial: -space.suggest(trial)["lr"], trials, STOP)
        return [trial.params for trial in again.trials]

    whole = points("whole", 0, [8])
    assert points("broken", 0, [2, 5, 8]) == whole
    assert points("other", 1, [8]) != whole
    assert len({point["lr"] for point in whole}) == 8


def test_failures_are_left_and_the_study_goes_on(study: optuna.Study) -> None:
    def objective(trial: optuna.Trial) -> float:
        score(trial)
        if trial.number == 0:
            raise AVFusionError("the loss is not finite")
        if trial.number == 1:
            raise ZeroDivisionError
        return math.nan if trial.number == 2 else 0.5

    work(study, objective, 5, STOP)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL] * 3 + [TrialState.COMPLETE] * 2
    assert standing(study.trials) == Standing(5, 0)


def test_an_interrupted_trial_is_tried_again_with_its_point(study: optuna.Study) -> None:
    stop = threading.Event()

    def interrupted(trial: optuna.Trial) -> float:
        score(trial)
        stop.set()
        trial.set_user_attr(INTERRUPTED, "stopped by the user")
        raise InterruptedTrialError("stopped by the user")

    work(study, interrupted, 2, stop)
    assert standing(study.trials) == Standing(0, 0)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.WAITING]
    work(study, score, 2, STOP)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE]
    assert study.trials[1].params == study.trials[0].params
    assert study.trials[1].user_attrs == {}
    assert retried(study.trials) == {0}


KILLED = """
import sys, threading
import optuna
from avfusion.experiments.settings import SweepSettings
from avfusion.training.settings import TrainSettings
from avfusion.experiments.sweep.space import SearchSpace
from avfusion.experiments.sweep.storage import open_storage
from avfusion.experiments.sweep.study import open_study
from avfusion.experiments.sweep.worker import work

def hang(trial):
    trial.suggest_float("lr", 1e-5, 1e-2, log=True)
    print("running", flush=True)
    threading.Event().wait()

study = open_study(open_storage(sys.argv[1], 1), SweepSettings(pruner="none"), SearchSpace.of({}, TrainSettings()))
work(study, hang, 3, threading.Event())
"""


def test_the_trial_of_a_killed_worker_is_tried_again(study: optuna.Study, database: str) -> None:
    worker = subprocess.Popen([sys.executable, "-c", KILLED, database], stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "running\n"
    worker.kill()
    worker.communicate()
    assert standing(study.trials) == Standing(0, 1)
    work(study, score, 3, STOP)  # waits at the end until the killed trial has given no sign of life for 3 s
    assert standing(study.trials) == Standing(3, 0)
    states = [trial.state for trial in study.trials]
    assert states == [TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE, TrialState.COMPLETE]
    assert study.trials[3].params == study.trials[0].params


def test_a_worker_outlives_faults_of_the_storage(study: optuna.Study, monkeypatch: pytest.MonkeyPatch) -> None:
    from avfusion.experiments.sweep import worker

    monkeypatch.setattr(worker, "WAIT_S", 0)
    failing = iter([True, False, True] + [False] * 20)
    create = type(study._storage).create_new_trial

    def broken(self: object, *arguments: object, **options: object) -> int:
        if next(failing):
            raise optuna.exceptions.StorageInternalError("server closed the connection unexpectedly")
        return create(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(type(study._storage), "create_new_trial", broken)
    work(study, score, 3, STOP)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 3
    monkeypatch.setattr(worker, "MAX_FAULTS", 1)
    failing = iter([True] * 9)
    with pytest.raises(optuna.exceptions.StorageInternalError):
        work(study, score, 4, STOP)


def test_a_trial_whose_worker_died_before_its_first_sign_of_life_is_tried_again(study: optuna.Study) -> None:
    lost = study.ask()  # what `optimize` does before it begins to give signs of life
    work(study, score, 2, STOP)
    assert standing(study.trials) == Standing(2, 0)
    assert study.trials[lost.number].state == TrialState.FAIL
    assert retried(study.trials) == {lost.number}


def test_a_completed_trial_is_not_tried_again_for_what_it_was_before(study: optuna.Study) -> None:
    """Its worker died between the note that it was interrupted and its end."""
    trial = study.ask()
    trial.set_user_attr(INTERRUPTED, "server closed the connection unexpectedly")
    work(study, score, 2, STOP)
    states = [trial.state for trial in study.trials]
    assert states == [TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE]
    assert [trial.user_attrs for trial in study.trials[1:]] == [{}, {}]
