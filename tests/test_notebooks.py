"""The notebooks run from top to bottom on small projects, and are committed without outputs."""

import base64
import importlib.util
import re
import shutil
from pathlib import Path

import cv2
import nbformat
import numpy as np
import pytest
import yaml
from mlflow import MlflowClient
from nbclient import NotebookClient

from avfusion import Predictor
from avfusion.corpora.demo.render import render_demo
from avfusion.corpora.settings import CorpusSettings, RenderSettings
from avfusion.corpora.sources import scan
from avfusion.corpora.table import read_tracks, write_tracks
from avfusion.data.audio_store import update_audio
from avfusion.data.frame_store import update_frames
from avfusion.data.label_store import update_labels
from avfusion.data.settings import AudioSettings, FramesSettings
from avfusion.data.tracks import build_tracks
from avfusion.runtime.settings import ExecutionSettings
from avfusion.tracking.registry import ensure_registered
from avfusion.tracking.store import EXPERIMENT

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PROCESSES = ExecutionSettings(executor="processes", workers=2)
SERIAL = ExecutionSettings(executor="serial", workers=1)


@pytest.fixture(scope="module")
def explored_project(tmp_path_factory):
    """A project whose stages up to `audio` have run on a corpus of a few seconds."""
    root = tmp_path_factory.mktemp("explored")
    (root / "dvc.yaml").write_text("stages: {}\n")
    shutil.copyfile(ROOT / "params.yaml", root / "params.yaml")
    raw, data, corpus = root / "data" / "raw" / "demo", root / "data", CorpusSettings()
    render_demo(raw, RenderSettings(seed=5, train=3, val=1, test=1, min_seconds=2, max_seconds=2.5, size=96), PROCESSES)
    scan(raw, corpus, data / "sources.txt")
    tracks = build_tracks(raw, corpus, data / "sources.txt", execution=SERIAL)
    write_tracks(data / "corpus" / "tracks.parquet", tracks)
    update_labels(data / "labels", raw, tracks, SERIAL)
    update_frames(
        data / "frames", root / "reports" / "faces", raw, tracks, FramesSettings(contact_sheets=False), SERIAL
    )
    update_audio(data / "audio", raw, tracks, AudioSettings(), SERIAL)
    return root


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_committed_without_outputs(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@pytest.fixture(scope="module")
def trained_project(tmp_path_factory, plant_at, migrated_store):
    """A project whose features hold the labels in plain sight, and its stage `train` run for a few epochs."""
    root = tmp_path_factory.mktemp("trained-project")
    (root / "dvc.yaml").write_text("stages: {}\n")
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["train"] |= {"epochs": 3, "baselines": ["concat"], "batch_size": 16}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    plant_at(root, tracks={"train": 3, "val": 2, "test": 2}, seconds=24)
    (root / "mlruns").mkdir()
    shutil.copyfile(migrated_store, root / "mlruns" / "mlflow.db")
    spec = importlib.util.spec_from_file_location("stage_train", ROOT / "pipelines" / "train.py")
    stage = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stage)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        stage.main()
    return root


def execute(name, folder, monkeypatch):
    """Run a notebook in a folder; its pictures, and its texts by cell."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
    pictures, texts = [], []
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        assert output.get("name") != "stderr", output
        found = output.get("data", {})
        texts.append(found.get("text/plain", "") + output.get("text", ""))
        if "image/png" in found:
            content = np.frombuffer(base64.b64decode(found["image/png"]), np.uint8)
            pictures.append(cv2.imdecode(content, cv2.IMREAD_COLOR))
    assert all(picture.std() > 10 for picture in pictures)  # something is drawn
    return pictures, "\n".join(texts)


def test_explore_the_corpus(explored_project, monkeypatch):
    pictures, texts = execute("01-explore-the-corpus", explored_project, monkeypatch)
    assert len(pictures) == 4
    rows = {line.split()[0]: line.split()[1] for line in texts.splitlines() if len(line.split()) > 2}
    assert (rows["train"], rows["val"], rows["test"]) == ("3", "1", "1")


def test_train_and_compare_runs(trained_project, monkeypatch):
    pictures, texts = execute("02-train-and-compare-runs", trained_project, monkeypatch)
    assert len(pictures) == 3
    client = MlflowClient(f"sqlite:///{trained_project / 'mlruns' / 'mlflow.db'}")

    def runs(experiment):
        return client.search_runs([client.get_experiment_by_name(experiment).experiment_id])

    for run in runs(EXPERIMENT):
        if score := run.data.metrics.get("best/val_ccc_mean"):
            assert f"{score:.3f}".rstrip("0") in texts
    own = runs("avfusion-notebook")
    assert sorted((run.data.params["lr"], run.data.params["seed"]) for run in own) == [
        ("0.0001", "0"),
        ("0.0001", "1"),
        ("0.001", "0"),
        ("0.001", "1"),
    ]
    best = {}
    for run in own:
        history = client.get_metric_history(run.info.run_id, "val_ccc_mean")
        assert [entry.step for entry in history] == [1, 2, 3]
        best.setdefault(run.data.params["lr"], []).append(max(entry.value for entry in history))
    between = np.mean(best["0.001"]) - np.mean(best["0.0001"])
    assert between > 0.05, "ten times the learning rate learns more in three epochs"
    told = re.search(r"between learning rates ([\d.]+), between seeds", texts)
    assert float(told[1]) == pytest.approx(between, abs=2e-3)


def test_look_into_attention(trained_project, monkeypatch):
    pictures, _ = execute("03-look-into-attention", trained_project, monkeypatch)
    assert len(pictures) == 6


def test_own_video(explored_project, trained_models, migrated_store, tmp_path, monkeypatch):
    root = tmp_path / "project"
    shutil.copytree(explored_project, root)
    shutil.copytree(trained_models, root / "models")
    (root / "mlruns").mkdir()
    shutil.copyfile(migrated_store, root / "mlruns" / "mlflow.db")
    scores = {"val": {"jca": {"ccc_valence": 0.41, "ccc_arousal": 0.52, "ccc_mean": 0.465}}}
    ensure_registered(root / "models" / "fusion", metrics=scores, root=root)
    pictures, texts = execute("04-own-video", root, monkeypatch)
    assert len(pictures) == 3
    predictor = Predictor.load(root / "models" / "fusion")
    assert f"jca {predictor.digest[:12]}, trained on demo" in texts
    assert "validation CCC: valence 0.41, arousal 0.52, mean 0.47" in texts
    tracks = read_tracks(root / "data" / "corpus" / "tracks.parquet")
    read = next(track for track in tracks if track.split == "test" and track.has_audio)
    table = predictor.predict(root / "data" / "raw" / "demo" / read.video_path)
    assert f"valence: mean {table['valence'].mean():+.2f}" in texts
    first, values = table.iloc[0], ("valence", "arousal", "face_confidence")
    shown = next(line.split() for line in texts.splitlines() if line.split()[:2] == ["0", "1"])
    assert [float(cell) for cell in shown[3:6]] == pytest.approx([first[name] for name in values], abs=2e-3)
