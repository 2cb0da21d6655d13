"""What a model has been trained on is said by every door, as long as it is not real data."""

import json
import logging
import sys
from pathlib import Path

import av
import cv2
import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient

from avfusion.cli import main
from avfusion.corpora.notes import CATEGORY, DRAWN, as_sentence, corpus_notes
from avfusion.corpora.settings import CorpusSettings
from avfusion.fusion.model_folder import ModelFolder
from avfusion.inference.predictor import Predictor
from avfusion.presentation.overlay import EDGE
from avfusion.presentation.overlay_panel import plan_layout
from avfusion.tracking.model import save_fusion_model
from avfusion.tracking.registry import ensure_registered
from tests.conftest import write_model

REAL = {"name": "affwild2", "validation_digest": "w" * 32}


@pytest.fixture(params=["drawn", "real"])
def model(request: pytest.FixtureRequest, trained_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained on the demo corpus, whose config is from before there were notes, or one trained on people."""
    if request.param == "drawn":
        return trained_models / "fusion"
    return write_model(tmp_path_factory.mktemp("real") / "models", corpus=REAL)


def expected(model: Path) -> list[str]:
    return [] if "real" in str(model) else [DRAWN]


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["avfusion", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def said(text: str) -> list[str]:
    return [line.removeprefix("note: ") for line in text.splitlines() if line == f"note: {DRAWN}"]


@pytest.mark.parametrize(
    ("facts", "notes"),
    [
        ({"notes": ["trained on puppets"], "corpus": {"name": "demo"}}, ("trained on puppets",)),
        ({"notes": [], "corpus": {"name": "demo"}}, ()),
        ({"corpus": {"name": "demo"}}, (DRAWN,)),
        ({"corpus": {"name": "affwild2"}}, ()),
        ({"corpus": None}, ()),
        ({}, ()),
    ],
)
def test_the_config_says_it_and_an_older_one_by_its_corpus(
    trained_models: Path, tmp_path: Path, facts: dict[str, object], notes: tuple[str, ...]
) -> None:
    ModelFolder.open(trained_models / "fusion").copy_to(tmp_path)
    path = tmp_path / "fusion" / "config.json"
    config = {key: value for key, value in json.loads(path.read_text()).items() if key not in ("notes", "corpus")}
    path.write_text(json.dumps(config | facts))
    assert ModelFolder.open(tmp_path).notes == notes
    assert Predictor.load(tmp_path).notes == notes


def test_drawn_and_acted_corpora_have_a_note() -> None:
    names = CorpusSettings.model_fields["name"].annotation.__args__
    assert {name: corpus_notes(name) for name in names if corpus_notes(name)} == {
        "demo": (DRAWN,),
        **dict.fromkeys(("ravdess", "cremad"), (CATEGORY,)),
    }


def test_predict_says_it(
    model: Path, face_video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--format", "json", "--overlay", "--report"]
    assert call(monkeypatch, "predict", face_video, "--model", model, "-o", tmp_path, *options) == 0
    assert said(capsys.readouterr().err) == expected(model), "once, in one line"
    assert json.loads((tmp_path / "face.json").read_text())["notes"] == expected(model)
    noted = bool(expected(model))
    page = (tmp_path / "face.report.html").read_text(encoding="utf-8")
    assert (f'<p class="banner">{as_sentence(DRAWN)}</p>' in page) == noted
    trace = cv2.imread(str(tmp_path / "face.trace.png"))[-20:, -500:]
    assert bool((np.abs(trace.astype(int) - (11, 47, 140)).max(axis=2) < 60).any()) == noted, "WARNING, in the corner"
    with av.open(str(tmp_path / "face.overlay.mp4")) as overlay:
        frame = next(overlay.decode(video=0)).to_ndarray(format="rgb24")
    height, width = cv2.VideoCapture(str(face_video)).read()[1].shape[:2]
    layout = plan_layout(width, height)
    x, y, wide, high = layout.picture
    corner = frame[y + high - 12 : y + high - 2, x + wide - 60 : x + wide - 2].astype(int)
    on_ground = (np.abs(corner - EDGE).max(axis=2) < 40).mean()
    assert (on_ground > 0.4) == noted


def test_live_says_it(
    model: Path, face_video: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["avfusion", "live", "--source", str(face_video), "--model", str(model)])
    sys.argv += ["--no-realtime", "--json"]
    with pytest.raises(SystemExit):
        main()
    captured = capsys.readouterr()
    assert said(captured.err) == expected(model)
    assert json.loads(captured.out.splitlines()[-1])["summary"]["notes"] == expected(model)


def test_a_logged_model_says_it(model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_fusion_model(ModelFolder.open(model), tmp_path / "logged")
    with caplog.at_level(logging.WARNING):
        loaded = mlflow.pyfunc.load_model(str(tmp_path / "logged"))
    assert ((loaded.metadata.metadata or {}).get("notes") or []) == expected(model)
    assert [record.message for record in caplog.records if record.message == DRAWN] == expected(model)


def test_a_registered_model_says_it(model: Path, project: Path) -> None:
    done = ensure_registered(model, root=project)
    version = MlflowClient().get_model_version("avfusion", done.version)
    assert version.tags.get("avfusion.notes") == (expected(model) or [None])[0]
    assert (DRAWN in version.description) == bool(expected(model))
    (logged,) = MlflowClient().search_logged_models([MlflowClient().get_experiment_by_name("avfusion").experiment_id])
    assert logged.tags.get("avfusion.notes") == (expected(model) or [None])[0]
