"""The runs of experiments: other code has others, and a copy of a project leaves those of the original alone."""

import shutil
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
import yaml
from mlflow import MlflowClient
from typer.testing import CliRunner

from avfusion.cli import app
from avfusion.experiments import grid
from avfusion.experiments.sweep.storage import default_storage
from avfusion.runtime.errors import AVFusionError

PARAMS = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8"))
PARAMS["train"] |= {"epochs": 2, "batch_size": 8, "baselines": [], "options": {"k": 4}}
PARAMS["sweep"] |= {"startup_trials": 2, "space": {"model": ["late"], "lr": {"low": 1e-4, "high": 1e-2, "log": True}}}
SIZES = {"tracks": {"train": 4, "val": 2, "test": 2}, "seconds": 8}


def avfusion(*arguments: str) -> None:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    "command", [("compare", "--models", "late,jca", "--seeds", "0"), ("crossval", "--model", "late", "--folds", "2")]
)
def test_other_code_has_runs_of_its_own(
    plant_project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    """Else one run would hold the curves of two codes."""
    root = plant_project(PARAMS, **SIZES)
    avfusion(*command)
    digest = grid.unit_digest
    monkeypatch.setattr(grid, "unit_digest", lambda *unit: digest(*unit) + "x")
    avfusion(*command)
    client = MlflowClient(f"sqlite:///{root / 'mlruns' / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("avfusion").experiment_id])
    codes = {run.data.tags["code.digest"] for run in runs if "code.digest" in run.data.tags}
    assert len(runs) == 6
    assert sum(code.endswith("x") for code in codes) * 2 == len(codes)
    for run in runs:
        steps = [point.step for point in client.get_metric_history(run.info.run_id, "loss")]
        assert len(steps) == len(set(steps))
        assert bool(steps) == ("code.digest" in run.data.tags)


def content(root: Path) -> dict[str, tuple[int, int]]:
    """When everything below a folder was last written, and its size."""
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in root.rglob("*")}


def trained(root: Path) -> int:
    """The number of finished trainings: those kept, and the trials of a study."""
    kept = len(list((root / ".avfusion" / "train").glob("*/training.json")))
    if (root / "mlruns" / "optuna.db").is_file():
        kept += len(optuna.load_study(study_name="fusion", storage=default_storage(root)).trials)
    return kept


@pytest.mark.parametrize(
    ("command", "option", "less", "more"),
    [
        (("compare", "--models", "late"), "--seeds", "0", "0,1"),
        (("crossval", "--model", "late"), "--folds", "2", "3"),
        (("sweep",), "--trials", "1", "2"),
    ],
)
def test_a_copy_that_goes_on_leaves_the_original_alone(
    plant_project: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    option: str,
    less: str,
    more: str,
) -> None:
    """Nor is anything trained before it is refused."""
    original = plant_project(PARAMS, **SIZES)
    avfusion(*command, option, less)
    copy = tmp_path / "copy"
    shutil.copytree(original, copy)
    done, before = trained(original), content(original)
    assert done
    monkeypatch.chdir(copy)
    refused = CliRunner().invoke(app, (*command, option, more)).exception
    assert isinstance(refused, AVFusionError)
    assert "is a copy, and would write into the original: move mlruns/mlflow.db and mlruns/artifacts" in str(refused)
    assert content(original) == before
    assert trained(copy) == done
