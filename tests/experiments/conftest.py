import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml


@pytest.fixture
def plant_project(
    plant: Callable[..., Path], migrated_store: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Path]:
    """Writes a planted corpus as a project with params.yaml and an empty MLflow store; goes there, gives its root."""

    def write(params: Mapping[str, Any], **arguments: object) -> Path:
        root = plant(**arguments)
        (root / "mlruns").mkdir()
        shutil.copyfile(migrated_store, root / "mlruns" / "mlflow.db")
        (root / "params.yaml").write_text(yaml.safe_dump(params))
        (root / "dvc.yaml").write_text("stages: {}\n")
        monkeypatch.chdir(root)
        return root

    return write
