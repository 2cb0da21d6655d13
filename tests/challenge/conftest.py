import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.challenge.evaluated_project import evaluate


@pytest.fixture(scope="session")
def evaluated(plant_at: Callable[..., list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project, its test tracks without label files and without truth, evaluated; not to be changed."""
    root = tmp_path_factory.mktemp("evaluated")
    plant_at(root, tracks={"train": 1, "val": 2, "test": 3}, seconds=9, rates=(24.0, 25.0, 30.0), noise=0.1)
    for path in [*(root / "data/labels").glob("test-*"), *(root / "data/raw/demo/truth").glob("test-*")]:
        path.unlink()
    evaluate(root)
    (root / "dvc.yaml").write_text("stages: {}\n")
    shutil.copyfile(Path(__file__).parents[2] / "params.yaml", root / "params.yaml")
    return root


@pytest.fixture
def root(evaluated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The evaluated project, to be changed; the working directory."""
    folder = tmp_path / "project"
    shutil.copytree(evaluated, folder)
    monkeypatch.chdir(folder)
    return folder
