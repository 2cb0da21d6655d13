"""Models from the store: fetched once, checked when used, at hand when the store is gone."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from avfusion import Predictor
from avfusion.runtime.errors import BadInputError
from avfusion.tracking.model_cache import cache_folder
from avfusion.tracking.registry import ensure_registered


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("AVFUSION_CACHE", str(folder))
    return folder


@pytest.fixture
def registered(project: Path, cache: Path) -> str:
    """The digest of version 1, champion."""
    return ensure_registered("models/fusion").digest


def artifacts(project: Path) -> Path:
    (folder,) = project.glob("mlruns/artifacts/models/*/artifacts")
    return folder


def test_a_model_is_fetched_once(project: Path, cache: Path, registered: str) -> None:
    assert Predictor.load("models:/avfusion@champion").digest == registered
    assert [path.name for path in (cache / "models").iterdir()] == [registered]
    shutil.rmtree(artifacts(project))  # a second download would fail
    for uri in ("models:/avfusion@champion", "models:/avfusion/1", "models:/avfusion/1/"):
        predictor = Predictor.load(uri)
        assert predictor.digest == registered
        assert predictor.source.startswith(uri)
        assert "(version 1, registered " in predictor.source


def test_versions_that_were_used_work_without_the_store_and_aliases_do_not(
    project: Path, cache: Path, registered: str
) -> None:
    Predictor.load("models:/avfusion@champion")
    (project / "mlruns" / "mlflow.db").unlink()
    predictor = Predictor.load("models:/avfusion/1")
    assert predictor.digest == registered
    missing = f"{project} has no MLflow store at sqlite:///{project / 'mlruns' / 'mlflow.db'}"
    assert predictor.source.startswith(f"models:/avfusion/1 (from the cache: {missing}")
    for uri in ("models:/avfusion@champion", "models:/avfusion/2"):
        with pytest.raises(BadInputError, match=f"no model at {uri}: .* has no MLflow store"):
            Predictor.load(uri)
    assert not (project / "mlruns" / "mlflow.db").exists(), "asking made none"


def test_an_id_of_a_run_or_model_needs_no_store(project: Path, registered: str) -> None:
    from mlflow import MlflowClient

    version = MlflowClient().get_model_version("avfusion", "1")
    uris = (f"runs:/{version.run_id}/fusion", version.source)
    assert {Predictor.load(uri).digest for uri in uris} == {registered}
    shutil.rmtree(project / "mlruns")
    assert {Predictor.load(uri).digest for uri in uris} == {registered}


def test_a_store_that_has_not_changed_is_not_asked_again(project: Path, registered: str) -> None:
    script = "import sys; from avfusion import Predictor; print(Predictor.load().digest, 'mlflow' in sys.modules)"

    def load_champion() -> list[str]:
        return subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()

    assert load_champion() == [registered, "True"]
    assert load_champion() == [registered, "False"]
    os.utime(project / "mlruns" / "mlflow.db")
    assert load_champion() == [registered, "True"]


def test_a_damaged_copy_is_not_used_but_fetched_again(project: Path, cache: Path, registered: str) -> None:
    Predictor.load("models:/avfusion/1")
    weights = cache / "models" / registered / "fusion" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert Predictor.load("models:/avfusion/1").digest == registered
    assert bytes(content) != weights.read_bytes(), "whole again"
    weights.unlink()
    (project / "mlruns" / "mlflow.db").unlink()
    with pytest.raises(BadInputError, match="no model at models:/avfusion/1"):
        Predictor.load("models:/avfusion/1")


def test_the_store_and_not_the_cache_says_what_an_alias_or_a_version_is(
    project: Path, registered: str, retrain: Callable[..., Path], score: Callable[[float], Path]
) -> None:
    first = Predictor.load("models:/avfusion@champion").digest
    retrain(seed=5)
    score(0.9)
    second = ensure_registered("models/fusion")
    assert second.decision == "champion"
    assert Predictor.load("models:/avfusion@champion").digest == second.digest != first
    with pytest.raises(BadInputError, match="no model at models:/avfusion/3 in the MLflow store"):
        Predictor.load("models:/avfusion/3")


def test_a_cache_that_cannot_be_written_is_done_without(
    project: Path, registered: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("AVFUSION_CACHE", str(tmp_path / "file" / "cache"))
    assert Predictor.load("models:/avfusion/1").digest == registered


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AVFUSION_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("AVFUSION_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "avfusion"
