"""Faults of a real sweep: losses that are NaN, and storages and disks that are away, locked, replaced or full."""

import csv
import os
import shutil
import socket
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import optuna
import pytest
from mlflow.entities import Run
from optuna.trial import TrialState

from avfusion.experiments.settings import SweepSettings
from avfusion.experiments.sweep import storage
from avfusion.experiments.sweep.command import run_sweep
from avfusion.experiments.sweep.space import SearchSpace
from avfusion.experiments.sweep.storage import open_storage
from avfusion.experiments.sweep.study import open_study
from avfusion.experiments.sweep.worker import work
from avfusion.training.settings import TrainSettings
from tests.experiments.sweep.test_run import lines_of, runs_of, set_values, start, trials_of


def test_a_trial_whose_loss_is_nan_fails_and_the_study_goes_on(sweep_project: Path) -> None:
    set_values(sweep_project, "sweep", space={"model": ["jca"], "lr": [1e-4, 1e30]})
    run_sweep(trials=4, storage=None, workers=1, apply=False)
    trials = trials_of(sweep_project)
    ends = {trial.number: (trial.params["lr"], trial.state) for trial in trials}
    assert set(ends.values()) == {(1e-4, TrialState.COMPLETE), (1e30, TrialState.FAIL)}
    assert len(trials) == 4, "a trial that fails by itself is not tried again"
    rows = list(csv.DictReader((sweep_project / "reports" / "sweep" / "trials.csv").open()))
    runs: dict[str, Run] = {run.data.tags.get("sweep.trial", ""): run for run in runs_of(sweep_project)}
    for row in rows:
        failed = row["lr"] == "1e+30"
        assert ("jca: a prediction is not finite at epoch 1, validation " in row["error"]) == failed
        assert runs[row["trial"]].info.status == ("FAILED" if failed else "FINISHED")
        assert ("error" in runs[row["trial"]].data.tags) == failed


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_locked_file_costs_no_trial(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than anybody waits for it at a time, and than two signs of life are apart."""
    monkeypatch.setattr(storage, "LOCK_S", 0.05)
    monkeypatch.setattr(storage, "PAUSE_S", 1.0)
    stop = threading.Event()
    study = open_study(
        open_storage(database, 1, stop), SweepSettings(pruner="none"), SearchSpace.of({}, TrainSettings())
    )

    def objective(trial: optuna.Trial) -> float:
        with closing(sqlite3.connect(database.removeprefix("sqlite:///"), check_same_thread=False)) as other:
            other.execute("BEGIN EXCLUSIVE")
            release = threading.Timer(2, other.rollback)
            release.start()
            trial.report(0.5, 1)
            release.join()
        return 0.5

    work(study, objective, 2, stop)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 2
    assert [trial.intermediate_values for trial in study.trials] == [{1: 0.5}] * 2


def until_a_trial_ends(process: object) -> list[str]:
    lines = []
    for line in lines_of(process):  # type: ignore[arg-type]
        lines.append(line)
        if line.startswith("trial "):
            break
    return lines


@pytest.mark.slow
@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_file_that_is_taken_away_ends_the_sweep_in_one_line(how: str, sweep_project: Path) -> None:
    set_values(sweep_project, "train", epochs=60, patience=60)
    process = start(sweep_project, "--trials", "500")
    lines = until_a_trial_ends(process)
    database = sweep_project / "mlruns" / "optuna.db"
    if how == "removed":
        database.unlink()
    else:
        open_storage(f"sqlite:///{sweep_project / 'other.db'}", 30)
        os.replace(sweep_project / "other.db", database)
    output = "".join(lines) + process.communicate(timeout=200)[0]
    assert process.returncode == 1
    assert output.splitlines()[-1].startswith(f"error: storage sqlite:///{database} cannot be used: ")
    assert "Traceback" not in output


def test_a_storage_out_of_reach_is_one_line_and_exit_code_1(sweep_project: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        url = f"postgresql://me:secret@127.0.0.1:{taken.getsockname()[1]}/studies"
        process = start(sweep_project, "--storage", url)
        output = process.communicate(timeout=100)[0]
    assert process.returncode == 1
    assert output.count("\n") == 1, output
    assert output.startswith("error: storage postgresql://me:***@127.0.0.1:")
    assert "refused" in output


@pytest.mark.slow
def test_a_full_disk_ends_the_sweep_in_one_line_and_with_more_room_it_goes_on(
    sweep_project: Path, disk: Callable[[Path, int], Callable[[int], None]], tmp_path: Path
) -> None:
    store, filler = sweep_project / "mlruns", sweep_project / "mlruns" / "filler"
    shutil.move(store, tmp_path / "mlruns")
    disk(store, 8192)
    shutil.copytree(tmp_path / "mlruns", store, dirs_exist_ok=True)
    process = start(sweep_project, "--trials", "500")
    lines = until_a_trial_ends(process)
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    output = "".join(lines) + process.communicate(timeout=300)[0]
    assert process.returncode == 1
    last = f"error: storage sqlite:///{store}/optuna.db cannot be used: database or disk is full"
    assert output.splitlines()[-1] == last, output
    assert "Traceback" not in output
    filler.unlink()
    before = trials_of(sweep_project)
    run_sweep(trials=len(before) + 2, storage=None, workers=1, apply=False)
    after = trials_of(sweep_project)
    assert {trial.state for trial in after} <= {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}
    assert [trial.value for trial in after[: len(before)]][:-1] == [trial.value for trial in before][:-1]
    assert len(runs_of(sweep_project)) == 1 + len(after), "what could not be logged is logged later"
