"""A small corpus of Aff-Wild2's shape, from published checkpoints (stand-ins of them) to both submission formats."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from mlflow import MlflowClient
from torchvision.models import resnet18
from torchvision.models.video import r2plus1d_18

from avfusion.data.features import read_features
from avfusion.data.frames import encode_crop
from avfusion.fusion import load_jointcam
from avfusion.scoring.track_predictions import read_predictions
from tests.project_copy import ProjectCopy
from tests.published_checkpoints import seeded_state_dict, write_jointcam, write_tsav

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

FRAMES = 65
SPLITS = {"train": ("video1", "video2", "video3"), "val": ("video4", "video5"), "test": ("video6", "video7")}
UNLABELLED = 13  # frames of each labelled track
SMALL = {
    "common": {"threads": 2},
    "execution": {"executor": "serial", "workers": 1},
    "features": {"stride": 32, "batch_size": 3},
    "evaluate": {"trace_plots": 0},
}


@pytest.fixture(scope="module")
def corpus(face_video: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos, 112x112 crops of which some are missing, labels of which some are -5, and a list of test tracks."""
    root = tmp_path_factory.mktemp("corpus")
    annotations = root / "annotations"
    moments = np.arange(FRAMES) / 25
    for seed, (split, track) in enumerate((split, track) for split, tracks in SPLITS.items() for track in tracks):
        (root / "videos").mkdir(exist_ok=True)
        (root / "videos" / f"{track}.mp4").write_bytes(face_video.read_bytes())
        labels = np.round(0.6 * np.sin(np.outer(moments + seed, (1.7, 2.3))), 3)
        labels[10 : 10 + UNLABELLED] = -5
        if split != "test":
            target = annotations / "VA_Set" / {"train": "Train_Set", "val": "Validation_Set"}[split] / f"{track}.txt"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text("valence,arousal\n" + "".join(f"{v},{a}\n" for v, a in labels))
        crops = root / "cropped_aligned" / track
        crops.mkdir(parents=True)
        for frame in range(FRAMES):
            if frame % 9 != 4:
                face = np.full((112, 112, 3), (150 + 5 * seed, 120, 100), np.uint8)
                cv2.circle(face, (56, 60 + frame % 20), 20 + 3 * seed, (30, 20 + 2 * frame, 20), -1)
                (crops / f"{frame + 1:05d}.jpg").write_bytes(encode_crop(face, 90))
    listed = annotations / "Valence_Arousal_Estimation_test_set_release.txt"
    listed.write_text("".join(f"{track}\n" for track in SPLITS["test"]))
    return root


@pytest.fixture
def project(corpus: Path, tmp_path: Path) -> Callable[..., ProjectCopy]:
    """A copy of the project with a preset on the corpus, made small; keywords are further sections."""

    def make(preset: str, **changes: dict) -> ProjectCopy:
        copy = ProjectCopy.of_working_tree(tmp_path / "project")
        copy.variables |= {"TORCH_HOME": str(tmp_path / "torch"), "https_proxy": "http://127.0.0.1:9"}
        copy.must("avfusion", "preset", preset, "--root", str(corpus))
        path = copy.folder / "params.yaml"
        values = yaml.safe_load(path.read_text())
        for section, keys in (SMALL | changes).items():
            for key, value in keys.items():
                old = values[section][key]
                values[section][key] = old | value if isinstance(old, dict) else value
        path.write_text(yaml.safe_dump(values))
        copy.commit()  # a model of files that are not committed is no champion
        return copy

    return make


def submissions(project: ProjectCopy, folder: Path) -> None:
    """Both formats hold every frame of every test track, and agree."""
    project.must("avfusion", "submit", "--format", "abaw3", "-o", str(folder / "abaw3"))
    project.must("avfusion", "submit", "--format", "abaw5", "-o", str(folder / "abaw5.txt"))
    header, *rows = (folder / "abaw5.txt").read_text().splitlines()
    assert header == "image_location,valence,arousal"
    assert len(rows) == FRAMES * len(SPLITS["test"])
    for track in SPLITS["test"]:
        own = [row.split(",", 1)[1] for row in rows if row.startswith(f"{track}/")]
        assert (folder / "abaw3" / f"{track}.txt").read_text().splitlines() == ["valence,arousal", *own]
        assert len(own) == FRAMES


def logged_params(project: ProjectCopy, model: str) -> dict[str, str]:
    """Parameters of the model's MLflow run."""
    record = json.loads((project.folder / "reports" / "train" / "run.json").read_text())
    client = MlflowClient(f"sqlite:///{project.folder / 'mlruns' / 'mlflow.db'}")
    return dict(client.get_run(record["runs"][model]["run_id"]).data.params)


def predicted(folder: Path, name: str) -> np.ndarray:
    with (folder / f"{name}.csv").open(newline="") as stream:
        return np.array([[row["valence"], row["arousal"]] for row in csv.DictReader(stream)], float)


def test_tsav_with_the_published_fusion_untrained(
    project: Callable[..., ProjectCopy], corpus: Path, tmp_path: Path
) -> None:
    here = project("affwild2-tsav")
    doctor = json.loads(here.run("avfusion", "doctor", "--json").output)
    missing = {item["name"] for item in doctor["items"] if item["status"] == "missing"}
    assert {"backbones.visual.weights", "backbones.audio.weights", "train.weights"} <= missing
    tsav = write_tsav(tmp_path / "TSAV_Sub4_544k.pth.tar", seeded_state_dict("tsav"))
    jointcam = write_jointcam(tmp_path / "jointcam.pt", seeded_state_dict("jointcam"), legacy=True)
    here.must("avfusion", "import-weights", "tsav", str(tsav))
    here.must("avfusion", "import-weights", "jointcam", str(jointcam))
    here.must("dvc", "repro")

    models = here.folder / "models"
    for ours, imported in {
        "fusion/model.safetensors": "jointcam/model.safetensors",
        "backbones/audio.safetensors": "tsav/audio.safetensors",
        "backbones/visual.safetensors": "tsav/visual.safetensors",
    }.items():
        assert (models / ours).read_bytes() == (models / "imported" / imported).read_bytes()
    as_the_published_network_predicts(here, jointcam)

    metrics = json.loads((here.folder / "reports" / "evaluate" / "metrics.json").read_text())
    entry = metrics["val"]["released_coattention"]
    assert {split: scores["released_coattention"].get("seen_data") for split, scores in metrics.items()} == {
        "val": "may have",
        "test": None,
    }
    assert entry["frames"] == len(SPLITS["val"]) * (FRAMES - UNLABELLED)
    assert entry["released_protocol"]["frames"] == len(SPLITS["val"]) * FRAMES
    assert -1 <= entry["released_protocol"]["smoothed"]["ccc_mean"] <= 1
    assert metrics["test"]["released_coattention"]["released_protocol"]["ccc_mean"] is None
    assert "released protocol" in here.must("avfusion", "summary").output

    params = logged_params(here, "released_coattention")
    for key in ("feature_spec.backbones.visual.source", "feature_spec.backbones.audio.source"):
        assert params[key].startswith("TSAV, arXiv 2002.03399")
    assert "research purposes" in params["feature_spec.backbones.visual.licence"]
    assert params["start.weights"] == "models/imported/jointcam"
    assert "without a licence" in params["start.licence"]
    version = json.loads((here.folder / "reports" / "register" / "model_version.json").read_text())
    assert version["decision"] == "champion"

    submissions(here, tmp_path)
    video = str(corpus / "videos" / "video6.mp4")
    for name, model in (("imported", "models/imported/jointcam"), ("pipeline", "models/fusion"), ("champion", "")):
        chosen = ("--model", model) if model else ()
        here.must("avfusion", "predict", video, *chosen, "--stride", "32", "-o", str(tmp_path / name))
    found = {name: predicted(tmp_path / name, "video6") for name in ("imported", "pipeline", "champion")}
    assert found["imported"].shape == (FRAMES, 2)
    assert found["imported"].std() > 1e-4
    np.testing.assert_array_equal(found["champion"], found["pipeline"])
    np.testing.assert_allclose(found["imported"], found["pipeline"], atol=1e-4)


@torch.inference_mode()
def as_the_published_network_predicts(project: ProjectCopy, checkpoint: Path) -> None:
    """At the clips' ends: the published network on the one sequence of the clips, zeros behind them."""
    model = load_jointcam(checkpoint)
    for track in SPLITS["test"]:
        features = read_features(project.folder / "data" / "features" / f"{track}.safetensors")
        assert features.clip_end.tolist() == [1, 33, 65]
        assert features.visual.shape == (3, 512, 7, 7)
        audio, visual = torch.zeros(1, 16, 512), torch.zeros(1, 16, 25088)
        audio[0, :3] = torch.from_numpy(features.audio).float()
        visual[0, :3] = torch.from_numpy(features.visual).float().flatten(1)
        expected = model(audio, visual).predictions[0, :3].clamp(-1, 1).numpy()
        stored, _, _ = read_predictions(project.folder / "reports" / "evaluate" / "predictions" / f"{track}.parquet")
        np.testing.assert_allclose(stored[[0, 32, 64]], expected, atol=1e-5)


def test_kinetics_and_imagenet_weights_then_training(project: Callable[..., ProjectCopy], tmp_path: Path) -> None:
    short = {"epochs": 1, "steps_per_epoch": 2, "batch_size": 4}
    quick = {"epochs": 3, "batch_size": 4, "lr": 1e-3, "baselines": ["concat"]}
    here = project("affwild2", backbones={"visual": short, "audio": short}, train=quick)
    offline = here.run("dvc", "repro")
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    assert offline.code != 0
    assert f"put that file into {folder}" in offline.output

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    torch.save(r2plus1d_18(weights=None).state_dict(), folder / "r2plus1d_18-91a641e6.pth")
    torch.save(resnet18(weights=None).state_dict(), folder / "resnet18-f37072fd.pth")
    here.must("dvc", "repro")
    metrics = json.loads((here.folder / "reports" / "evaluate" / "metrics.json").read_text())
    assert set(metrics["val"]) >= {"jca", "concat"}
    assert metrics["val"]["jca"]["frames"] == len(SPLITS["val"]) * (FRAMES - UNLABELLED)
    assert "released_protocol" not in metrics["val"]["jca"]
    record = json.loads((here.folder / "models" / "backbones" / "visual.json").read_text())
    start = record["provenance"]["start"]
    assert start["weights"] == "kinetics400"
    assert start["source"].startswith("a file in the place of torchvision, R2Plus1D_18_Weights.KINETICS400_V1")
    assert record["provenance"]["best_epoch"] == 1
    assert logged_params(here, "jca")["feature_spec.backbones.audio.source"].startswith("a file in the place of")
    submissions(here, tmp_path)
