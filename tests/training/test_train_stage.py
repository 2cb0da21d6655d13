"""The stage `train` as DVC runs it: a process of its own, killed and started again."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from avfusion.challenge.submission import submit
from avfusion.runtime.fingerprints import folder_digest
from avfusion.tracking.runs import flatten

SOURCE = Path(__file__).parents[2]
EPOCHS = 30  # so many that the third is over long before the last
METRICS = ("loss", "lr", *(f"{s}_ccc_{t}" for s in ("train", "val") for t in ("valence", "arousal", "mean")))


@pytest.fixture
def stage_project(plant: Callable[..., Path], migrated_store: Path) -> Path:
    """A project with planted features and params for a quick training of two models."""
    root = plant(tracks={"train": 4, "val": 2, "test": 2}, seconds=12)
    params = yaml.safe_load((SOURCE / "params.yaml").read_text())
    quick = {"model": "concat", "baselines": ["audio_only"], "epochs": EPOCHS, "patience": EPOCHS, "batch_size": 8}
    params["train"] |= quick | {"options": {}}
    params["geometry"]["target_offset"] = 0
    params["evaluate"] |= {"trace_plots": 1}
    params["common"]["threads"] = 1
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    history = root / "reports" / "backbones" / "history.csv"
    history.parent.mkdir(parents=True)
    history.write_text("epoch,audio_val_ccc_mean,visual_val_ccc_mean\n1,0.25,0.5\n2,0.375,\n")
    (root / "models" / "backbones" / "audio.json").write_text(json.dumps({"metrics": {"val_ccc_mean": 0.375}}))
    (root / "dvc.yaml").write_text("stages: {}\n")
    (root / "mlruns").mkdir()
    shutil.copyfile(migrated_store, root / "mlruns" / "mlflow.db")
    return root


def start(root: Path, stage: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(SOURCE / "pipelines" / f"{stage}.py")],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"},
    )


def run(root: Path, stage: str) -> str:
    process = start(root, stage)
    output = process.communicate()[0]
    assert process.returncode == 0, output
    return output


def kill_after(root: Path, mark: str) -> str:
    process = start(root, "train")
    assert process.stdout is not None
    lines = []
    for line in iter(process.stdout.readline, ""):
        lines.append(line)
        if mark in line:
            os.kill(process.pid, signal.SIGKILL)
            break
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL, "".join(lines)
    return "".join(lines)


def results(root: Path) -> dict[str, str]:
    """Digests of everything that training left, without the ids of runs."""
    record = root / "reports" / "train" / "run.json"
    found = {"inputs": json.dumps(json.loads(record.read_text())["inputs"])}
    reports = [path for path in sorted((root / "reports" / "train").iterdir()) if path != record]
    found |= {path.name: path.read_bytes().hex() for path in reports}
    return found | {name: folder_digest(root / "models" / name) for name in ("fusion", "baselines")}


def runs_of(root: Path) -> Iterator[tuple[str, object]]:
    client = MlflowClient(f"sqlite:///{root / 'mlruns' / 'mlflow.db'}")
    (experiment,) = [e for e in client.search_experiments() if e.name == "avfusion"]
    for entry in client.search_runs([experiment.experiment_id]):
        model, _, label = entry.info.run_name.partition(", ")
        assert label.startswith("lr 0.00"), "runs are told apart by their names where they are compared"
        yield model, entry


def test_killed_training_continues_its_runs_and_ends_with_the_same_bytes(stage_project: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(stage_project, whole)
    run(whole, "train")

    first = kill_after(stage_project, "concat: epoch  3 of")
    assert {entry.info.status for _, entry in runs_of(stage_project)} == {"RUNNING"}  # type: ignore[attr-defined]
    second = run(stage_project, "train")
    assert "concat: resumed at epoch" in second
    for epoch in range(1, EPOCHS + 1):
        line = f"concat: epoch {epoch:>2} of {EPOCHS}  loss"
        assert (line in first) + (line in second) <= 1, line

    entries = dict(runs_of(stage_project))
    assert sorted(entries) == ["audio_only", "concat", "train"]
    client = MlflowClient(f"sqlite:///{stage_project / 'mlruns' / 'mlflow.db'}")
    record = json.loads((stage_project / "reports" / "train" / "run.json").read_text())
    for name, entry in entries.items():
        assert entry.info.status == "FINISHED"  # type: ignore[attr-defined]
        if name == "train":
            continue
        run_id = entry.info.run_id  # type: ignore[attr-defined]
        assert record["runs"][name]["run_id"] == run_id
        assert client.get_run(run_id).data.tags["mlflow.parentRunId"] == record["parent"]
        for metric in METRICS:
            steps = [point.step for point in client.get_metric_history(run_id, metric)]
            assert steps == list(range(1, EPOCHS + 1)), metric
    assert results(stage_project) == results(whole)

    params = yaml.safe_load((stage_project / "params.yaml").read_text())
    parent = client.get_run(record["parent"]).data
    for run_data in (parent, client.get_run(record["runs"]["concat"]["run_id"]).data):
        flat = {key for key in run_data.params if key.partition(".")[0] != "feature_spec"}
        assert flat - {"model"} == set(flatten(params)), "every param"
        assert run_data.params["backbones.visual.lr"] == str(params["backbones"]["visual"]["lr"])
        assert run_data.params["evaluate.trace_plots"] == "1"
    epochs = client.get_metric_history(record["parent"], "backbones/audio/val_ccc_mean")
    assert [(point.step, point.value) for point in epochs] == [(1, 0.25), (2, 0.375)]
    assert parent.metrics["backbones/audio/best/val_ccc_mean"] == 0.375
    assert "backbones/history.csv" in [item.path for item in client.list_artifacts(record["parent"], "backbones")]

    # A rerun with nothing new trains nothing, and its runs stay the same ones.
    again = run(stage_project, "train")
    assert "concat: trained already" in again
    assert len(dict(runs_of(stage_project))) == 3
    assert results(stage_project) == results(whole)

    run(stage_project, "evaluate")
    scored = client.get_run(record["runs"]["concat"]["run_id"]).data.metrics
    metrics = json.loads((stage_project / "reports" / "evaluate" / "metrics.json").read_text())
    assert scored["test/ccc_mean"] == pytest.approx(metrics["test"]["concat"]["ccc_mean"], abs=1e-6)
    assert not any("ci95" in name for name in scored), "so few videos have no interval"
    shown = [item.path for item in client.list_artifacts(record["runs"]["concat"]["run_id"], "evaluate")]
    assert {"evaluate/ccc.png", "evaluate/protocol.json"} <= set(shown)
    submitted = submit(stage_project, stage_project / "predictions.txt")
    assert (submitted.model, submitted.tracks, submitted.rows) == ("concat", 2, 600)
