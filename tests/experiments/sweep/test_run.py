"""`avfusion sweep` with real worker processes on planted features."""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run
from optuna.trial import TrialState

from avfusion.experiments.sweep.command import run_sweep
from avfusion.experiments.sweep.storage import default_storage
from avfusion.params.params import load_params
from avfusion.params.yaml_text import with_values
from avfusion.runtime.errors import BadInputError

SOURCE = Path(__file__).parents[3]
FINISHED = {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}


def trials_of(root: Path) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="fusion", storage=default_storage(root)).trials


def runs_of(root: Path) -> list[Run]:
    client = MlflowClient(f"sqlite:///{root / 'mlruns' / 'mlflow.db'}")
    (experiment,) = [entry for entry in client.search_experiments() if entry.name == "avfusion-sweep"]
    return client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])


def set_values(root: Path, section: str, **values: object) -> None:
    path = root / "params.yaml"
    path.write_text(with_values(path.read_text(), section, values))


def test_a_study_is_searched_logged_reported_applied_and_goes_on(
    sweep_project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = sweep_project
    run_sweep(trials=None, storage=None, workers=1, apply=False)
    out = capsys.readouterr().out
    trials = trials_of(root)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 3
    assert trials[0].params["lr"] == 1e-4, "the paper's point is first"
    assert [len(trial.intermediate_values) for trial in trials] == [4, 4, 4]
    best = max(trials, key=lambda trial: trial.value)
    assert f"trial {best.number}: CCC {best.value:.4f} (epoch " in out
    assert "(the paper's)" in out

    rows = list(csv.DictReader((root / "reports" / "sweep" / "trials.csv").open()))
    assert [float(row["val_ccc_mean"]) for row in rows] == pytest.approx([t.value for t in trials], abs=1e-6)
    found = yaml.safe_load((root / "reports" / "sweep" / "best_params.yaml").read_text())["train"]
    assert found["lr"] == float(f"{best.params['lr']:.4g}")

    parent, *children = runs_of(root)
    assert [run.data.tags["mlflow.parentRunId"] for run in children] == [parent.info.run_id] * 3
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}
    assert parent.data.params["sweep.space.lr.high"] == "0.01"
    assert parent.data.tags["sweep.storage"] == default_storage(root)
    assert parent.data.tags["stopping"] == "validation"
    client = MlflowClient(f"sqlite:///{root / 'mlruns' / 'mlflow.db'}")
    names = {entry.path for entry in client.list_artifacts(parent.info.run_id)}
    pictures = {f"{name}.png" for name in ("history", "importances", "parallel_coordinates", "slices")}
    assert names == pictures | {"trials.csv", "best_params.yaml"}
    for trial, run in zip(trials, children, strict=True):
        epochs = client.get_metric_history(run.info.run_id, "val_ccc_mean")
        assert [(point.step, point.value) for point in epochs] == list(trial.intermediate_values.items())
        assert run.info.start_time == int(trial.datetime_start.timestamp() * 1000)
        assert run.info.end_time == int(trial.datetime_complete.timestamp() * 1000)
        assert run.data.params["model"] == trial.params["model"]
        assert run.data.metrics["best/val_ccc_mean"] == trial.value
        assert client.list_artifacts(run.info.run_id) == [], "metrics only"

    # The same command has nothing to do; with more trials it goes on, in the same runs; --apply writes the best.
    run_sweep(trials=4, storage=None, workers=1, apply=True)
    out = capsys.readouterr().out
    assert "3 of 4 trials are finished" in out
    assert len(trials_of(root)) == 4
    assert len(runs_of(root)) == 5
    best = max(trials_of(root), key=lambda trial: trial.value)
    train = load_params(root / "params.yaml").train
    assert train.lr == float(f"{best.params['lr']:.4g}")
    assert (train.model, train.batch_size) == (best.params["model"], best.params["batch_size"])
    assert "train.lr: 0.0001 → " in out or best.number == 0
    assert "best CCC" not in out
    assert "# " in (root / "params.yaml").read_text()

    # What was applied trains to the very score of the trial, and the study still goes on.
    from avfusion.experiments.training import read_inputs
    from avfusion.training.determinism import make_deterministic
    from avfusion.training.loop import FusionTraining

    make_deterministic(1)
    params = load_params(root / "params.yaml")
    inputs = read_inputs(root, params.geometry)
    training = FusionTraining(
        train.model,
        inputs.sequences(params.geometry),
        inputs.validation,
        train,
        params.geometry,
        inputs.feature_spec.stride,
        options=train.options,
        quiet=True,
    )
    assert max(row["val_ccc_mean"] for row in training.fit().history) == best.value
    run_sweep(trials=4, storage=None, workers=1, apply=True)
    assert "params.yaml has the best point already" in capsys.readouterr().out

    set_values(root, "train", epochs=5)
    with pytest.raises(BadInputError, match=r'with something else.*"epochs": 4.*give sweep\.study another name'):
        run_sweep(trials=4, storage=None, workers=1, apply=False)


def start(root: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "avfusion.cli", "sweep", *arguments],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONPATH": str(SOURCE), "PYTHONUNBUFFERED": "1", "COLUMNS": "120"},
        start_new_session=True,
    )


def lines_of(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stdout is not None
    return iter(process.stdout.readline, "")


def children_of(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(word) for word in found.stdout.split()]


def is_worker(pid: int) -> bool:
    return b"avfusion.runtime.workers" in Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.mark.slow
def test_ctrl_c_ends_after_the_epoch_and_the_same_command_goes_on(sweep_project: Path) -> None:
    set_values(sweep_project, "train", epochs=4000, patience=4000)
    process = start(sweep_project, "--workers", "2")
    assert any(line.startswith("study fusion in ") for line in lines_of(process))
    study = optuna.load_study(study_name="fusion", storage=default_storage(sweep_project))
    looks = threading.Event()
    while process.poll() is None:  # until both workers are amid a trial
        if sum(len(trial.intermediate_values) > 2 for trial in study.get_trials(deepcopy=False)) == 2:
            break
        looks.wait(0.2)
    os.killpg(process.pid, signal.SIGINT)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 130, output
    assert "stopping after the current epochs" in output
    assert "interrupted: the same command goes on" in output
    assert "Traceback" not in output
    trials = trials_of(sweep_project)
    interrupted = [trial for trial in trials if trial.state == TrialState.FAIL]
    waiting = [trial for trial in trials if trial.state == TrialState.WAITING]
    assert len(interrupted) == len(waiting) == 2
    assert sorted(t.params["lr"] for t in waiting) == sorted(t.params["lr"] for t in interrupted)
    assert not [trial for trial in trials if trial.state == TrialState.RUNNING]


@pytest.mark.slow
def test_every_worker_killed_once_leaves_no_trial_running(sweep_project: Path) -> None:
    set_values(sweep_project, "train", epochs=60, patience=60)
    process = start(sweep_project, "--workers", "2", "--trials", "6")
    killed: set[int] = set()
    output = []
    for line in lines_of(process):
        output.append(line)
        for pid in children_of(process.pid) if line.startswith("trial ") and len(killed) < 2 else ():
            if pid not in killed and is_worker(pid):
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
    assert process.wait() == 0, "".join(output)
    assert len(killed) == 2
    assert "".join(output).count("another takes its place") == 2
    trials = trials_of(sweep_project)
    assert {trial.state for trial in trials} <= FINISHED
    again = {number for trial in trials for number in trial.system_attrs.get("retry_history", [])}
    died = {t.number for t in trials if t.state == TrialState.FAIL and not t.user_attrs.get("error")}
    assert died <= again
    assert len([trial for trial in trials if trial.number not in again]) >= 6
    rows = json.dumps([run.data.tags.get("sweep.trial") for run in runs_of(sweep_project)])
    assert all(f'"{trial.number}"' in rows for trial in trials)


@pytest.mark.slow
def test_a_killed_sweep_takes_its_workers_along_and_goes_on(sweep_project: Path) -> None:
    set_values(sweep_project, "train", epochs=60, patience=60)
    process = start(sweep_project, "--workers", "2", "--trials", "4")
    for line in lines_of(process):
        if line.startswith("trial "):
            break
    workers = [pid for pid in children_of(process.pid) if is_worker(pid)]
    assert workers
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    run_sweep(trials=4, storage=None, workers=1, apply=False)
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert {trial.state for trial in trials_of(sweep_project)} <= FINISHED
