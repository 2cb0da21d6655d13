"""`train.weights`: training starts from a model on disk, or leaves it as it is."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from avfusion.experiments.grid import Grid
from avfusion.experiments.start import refuse_start
from avfusion.experiments.train_stage import train_models, training_grid
from avfusion.experiments.training import config_of
from avfusion.fusion.files import load_fusion
from avfusion.params.params import Params, check_params
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.fingerprints import file_digest
from avfusion.training.settings import TrainSettings

PARAMS = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8"))
SECTIONS = ("common", "corpus", "frames", "geometry", "train")
TRAIN = {"model": "jca", "options": {}, "baselines": (), "epochs": 1, "batch_size": 8}


def prepared(root: Path, **settings: object) -> tuple[Grid, Params]:
    params = check_params(PARAMS | {"train": PARAMS["train"] | TRAIN | settings}, SECTIONS)
    return training_grid(root, params, "cpu"), params


def train(root: Path, **settings: object) -> Path:
    """Train as the stage does; gives models/fusion."""
    train_models(*prepared(root, **settings))
    return root / "models" / "fusion"


@pytest.fixture
def root(plant: Callable[..., Path]) -> Path:
    """A planted corpus with a trained model at `start`."""
    root = plant(tracks={"train": 2, "val": 1}, seconds=8)
    shutil.copytree(train(root, epochs=2), root / "start")
    return root


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_fusion(folder)[0].state_dict()


def test_no_epochs_use_it_as_it_is(root: Path) -> None:
    config_path = root / "start" / "config.json"
    known = json.loads(config_path.read_text()) | {"start": {"source": "a paper", "licence": "a note", "file": "x.pt"}}
    config_path.write_text(json.dumps(known))
    folder = train(root, weights="start", epochs=0, seed=5)
    assert (folder / "model.safetensors").read_bytes() == (root / "start" / "model.safetensors").read_bytes()
    assert (root / "models" / "baselines").is_dir(), "an out of the stage, also without any"
    config = json.loads((folder / "config.json").read_text())
    digest = file_digest(root / "start" / "model.safetensors")
    assert config["start"] == {"weights": "start", "sha256": digest, "source": "a paper", "licence": "a note"}


def test_training_goes_on_from_it_with_its_own_standardisation(root: Path) -> None:
    begun, random = weights(root / "start"), weights(train(root, lr=1e-9, seed=9))
    continued = weights(train(root, weights="start", lr=1e-9))
    for name, value in begun.items():
        torch.testing.assert_close(continued[name], value, atol=1e-6, rtol=0)
    assert not torch.allclose(random["heads.valence.0.weight"], begun["heads.valence.0.weight"], atol=1e-3)
    moved = weights(train(root, weights="start", lr=1e-2))
    assert not torch.allclose(moved["heads.valence.0.weight"], begun["heads.valence.0.weight"], atol=1e-3)
    assert torch.equal(moved["audio_mean"], begun["audio_mean"])


def test_the_baselines_do_not_start_from_it(root: Path) -> None:
    train(root, weights="start", baselines=["concat"])
    assert "start" not in json.loads((root / "models" / "baselines" / "concat" / "config.json").read_text())


def test_its_contents_decide_the_training(root: Path) -> None:
    found = set()
    for source in ("start", "models/fusion"):
        if source != "start":
            train(root, seed=3)
            shutil.copyfile(root / source / "model.safetensors", root / "start" / "model.safetensors")
        grid, params = prepared(root, weights="start")
        assert grid.inputs.digests["start"] == file_digest(root / "start" / "model.safetensors")
        found.add(grid.unit(config_of(params.train, "jca")).digest)
    assert len(found) == 2


def test_what_does_not_fit_is_named(root: Path) -> None:
    with pytest.raises(
        BadInputError, match=r"train\.weights: there is no folder models/imported/jointcam: `avfusion imp"
    ):
        train(root, weights="models/imported/jointcam")
    with pytest.raises(BadInputError, match=r"data holds no model \(config\.json is missing\)"):
        train(root, weights="data")
    with pytest.raises(BadInputError, match=r"start holds a jca, but train\.model is concat"):
        train(root, weights="start", model="concat")
    with pytest.raises(BadInputError, match=r"weights start \(train\.weights\) do not fit: .* is needed"):
        train(root, weights="start", options={"encoder_width": 64})


def test_untrained_on_features_of_other_backbones_is_refused(root: Path) -> None:
    path = root / "start" / "config.json"
    config = json.loads(path.read_text())
    config["feature_spec"]["backbones"]["visual"]["sha256"] = "0" * 64
    path.write_text(json.dumps(config))
    with pytest.raises(BadInputError, match=r"used untrained .* but the visual features are not of the backbones"):
        train(root, weights="start", epochs=0)
    train(root, weights="start", epochs=1)


def test_commands_that_train_many_models_refuse_weights_and_no_epochs() -> None:
    config = TrainSettings(model="jca", baselines=())
    refuse_start(config, "a sweep")
    with pytest.raises(
        BadInputError, match=r"train\.weights is 'models/x': must be null, since a sweep trains from random weights"
    ):
        refuse_start(config.model_copy(update={"weights": "models/x"}), "a sweep")
    with pytest.raises(BadInputError, match=r"train\.epochs is 0: must be 1 or more, since a sweep trains models"):
        refuse_start(config.model_copy(update={"epochs": 0}), "a sweep")
