"""A small project to search in, and studies without any training."""

import shutil
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from avfusion.experiments.settings import SweepSettings
from avfusion.experiments.sweep.space import SearchSpace
from avfusion.experiments.sweep.storage import open_storage
from avfusion.experiments.sweep.study import open_study
from avfusion.params.yaml_text import with_values
from avfusion.training.settings import TrainSettings

SOURCE = Path(__file__).parents[3]
SPACE = {
    "model": ["jca", "concat"],
    "encoder_width": [8, 16, 128],
    "k": [4, 32],
    "dropout": {"low": 0.0, "high": 0.8, "step": 0.1},
    "lr": {"low": 1e-5, "high": 1e-2, "log": True},
    "batch_size": [8, 64],
}
TRAIN = {"epochs": 4, "patience": 4}


@pytest.fixture
def sweep_project(plant: Callable[..., Path], migrated_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with planted features and a quick study in params.yaml; the working directory."""
    root = plant(tracks={"train": 4, "val": 2, "test": 2}, seconds=12)
    text = with_values((SOURCE / "params.yaml").read_text(), "train", TRAIN)
    text = with_values(text, "sweep", {"trials": 3, "heartbeat": 1, "startup_trials": 2, "space": SPACE})
    (root / "params.yaml").write_text(text)
    (root / "dvc.yaml").write_text("stages: {}\n")
    (root / "mlruns").mkdir()
    shutil.copyfile(migrated_store, root / "mlruns" / "mlflow.db")
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def space() -> SearchSpace:
    return SearchSpace.of(SPACE, TrainSettings())


@pytest.fixture
def database(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'optuna.db'}"


@pytest.fixture
def study(database: str, space: SearchSpace) -> optuna.Study:
    """An empty study whose trials give a sign of life every second."""
    return open_study(
        open_storage(database, 1), SweepSettings(pruner="none", startup_trials=3), space, {"features": "a"}
    )
