"""Weights from outside: a payload is refused and not run, what is cut or of another make is named."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from mlflow.exceptions import MlflowException
from safetensors.torch import load_file, save_file

from avfusion.backbones.pretrained import start_backbone
from avfusion.fusion import load_paper_jca
from avfusion.fusion.files import load_fusion
from avfusion.fusion.model_folder import ModelFolder
from avfusion.inference.predictor import Predictor
from avfusion.inference.pyfunc_model import VideoModel
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.training.checkpoints import CHECKPOINT, load_checkpoint, save_checkpoint


class Payload:
    """Unpickled by a reader that trusts it, it makes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.file,)


def zipped(state: object, path: Path) -> None:
    torch.save(state, path)


def legacy(state: object, path: Path) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)


def plain(state: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(state, protocol=2))


WRITERS = {"zip": zipped, "legacy": legacy, "plain pickle": plain}


@pytest.fixture(params=WRITERS)
def evil(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Path], Path]:
    """Writes a checkpoint with a payload; gives the file that the payload would make."""
    executed = tmp_path / "executed"

    def write(path: Path) -> Path:
        state = {"net": {"W_ca.weight": torch.zeros(2), "more": Payload(executed)}, "fingerprint": "f"}
        WRITERS[request.param](state, path)
        return executed

    return write


def test_the_payload_works(tmp_path):
    executed = tmp_path / "executed"
    pickle.loads(pickle.dumps(Payload(executed)))
    assert executed.exists()


def test_published_weights(evil, tmp_path):
    executed = evil(tmp_path / "model.pt")
    with pytest.raises(
        BadInputError, match=r"model\.pt (is not a whole checkpoint of tensors: .|names \S+, which)"
    ) as caught:
        load_paper_jca(tmp_path / "model.pt")
    assert "\n" not in str(caught.value)
    assert not executed.exists()


def test_a_start_for_a_backbone(evil, tmp_path):
    for name, words in {"x.pt": "can run code", "x.safetensors": "is not a whole safetensors file"}.items():
        executed = evil(tmp_path / name)
        with pytest.raises(BadInputError, match=words):
            start_backbone("narrow_resnet", stream="audio", weights=str(tmp_path / name))
        assert not executed.exists()


def test_a_model_to_predict_with(evil, trained_models, tmp_path):
    shutil.copytree(trained_models, tmp_path / "models")
    for part in ("fusion/model", "backbones/audio"):
        path = tmp_path / "models" / f"{part}.safetensors"
        whole = path.read_bytes()
        executed = evil(path)
        with pytest.raises(AVFusionError, match=path.name):
            Predictor.load(tmp_path / "models" / "fusion")
        assert not executed.exists()
        path.write_bytes(whole)
    assert Predictor.load(tmp_path / "models" / "fusion").name == "jca"


def test_a_checkpoint_of_training(evil, tmp_path):
    executed = evil(tmp_path / CHECKPOINT)
    with pytest.raises(AVFusionError, match=rf"{CHECKPOINT} cannot be read .*delete it to train from the start"):
        load_checkpoint(tmp_path, "f")
    assert not executed.exists()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_cut_files(share, trained_models, tmp_path):
    source = trained_models / "fusion"
    whole = (source / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: int(len(whole) * share)])
    (tmp_path / "config.json").write_bytes((source / "config.json").read_bytes())
    with pytest.raises(AVFusionError, match=r"model\.safetensors is not a whole safetensors file") as caught:
        load_fusion(tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(BadInputError, match="is not a whole safetensors file"):
        start_backbone("narrow_resnet", stream="audio", weights=str(tmp_path / "model.safetensors"))
    save_checkpoint(tmp_path, {"fingerprint": "f", "numbers": torch.zeros(2000)})
    checkpoint = (tmp_path / CHECKPOINT).read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(checkpoint[: int(len(checkpoint) * share)])
    with pytest.raises(AVFusionError, match=rf"{CHECKPOINT} cannot be read"):
        load_checkpoint(tmp_path, "f")
    with pytest.raises(BadInputError, match=rf"{CHECKPOINT} is not a whole checkpoint of tensors"):
        load_paper_jca(tmp_path / CHECKPOINT)


def test_another_architecture_is_named_key_by_key(trained_models, tmp_path):
    source = trained_models / "fusion"
    config = json.loads((source / "config.json").read_text())
    tensors = load_file(source / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    tensors["surplus.weight"] = tensors.pop("heads.valence.0.weight")
    tensors["heads.arousal.0.bias"] = torch.zeros(3)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(AVFusionError) as caught:
        load_fusion(tmp_path)
    for words in ("heads.valence.0.weight", "surplus.weight", "heads.arousal.0.bias"):
        assert words in str(caught.value)


def test_weights_that_are_not_finite_are_refused(trained_models, tmp_path):
    source = trained_models / "fusion"
    tensors = load_file(source / "model.safetensors")
    tensors["heads.valence.0.weight"][0, 0] = torch.nan
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((source / "config.json").read_bytes())
    with pytest.raises(BadInputError, match=r"hold NaN or infinity in heads\.valence\.0\.weight"):
        load_fusion(tmp_path)


@pytest.mark.parametrize("kind", [torch.bool, torch.uint8, torch.int64, torch.complex64])
def test_weights_of_other_kinds_are_refused_by_name(kind, trained_models, tmp_path):
    """Loading would turn them into floats without a word."""
    source = trained_models / "fusion"
    tensors = load_file(source / "model.safetensors")
    tensors["heads.valence.0.weight"] = tensors["heads.valence.0.weight"].to(kind)
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((source / "config.json").read_bytes())
    named = rf"heads\.valence\.0\.weight is {str(kind).removeprefix('torch.')}, float32 is needed"
    with pytest.raises(BadInputError, match=named if kind.is_complex is False else r"heads\.valence\.0\.weight"):
        load_fusion(tmp_path)


@pytest.fixture
def filled(trained_models: Path, tmp_path: Path) -> Callable[[float, torch.dtype], Path]:
    """A self-contained model whose fusion weights all have one value."""

    def fill(value: float, kind: torch.dtype) -> Path:
        ModelFolder.open(trained_models / "fusion").copy_to(tmp_path / "model")
        weights = tmp_path / "model" / "fusion" / "model.safetensors"
        save_file({name: torch.full_like(old, value, dtype=kind) for name, old in load_file(weights).items()}, weights)
        return tmp_path / "model"

    return fill


def test_weights_that_overflow_write_no_prediction(filled, project, short_video):
    """Finite, yet the sums are not."""
    model = filled(3e38, torch.float32)
    refusal = f"model {model} cannot be used, since its weights overflow: the model's predictions are not finite"
    shutil.copyfile(short_video, project.root / "x.mp4")
    for command in (("predict", "x.mp4", "-o", "out"), ("live", "--source", "x.mp4", "--no-realtime")):
        done = project.avfusion(*command, "--model", model)
        errors = [line for line in done.error.splitlines() if line.startswith("error: ")]  # beside progress and notes
        assert (done.code, errors) == (2, [f"error: {refusal}"])
        assert done.out == ""
    assert not (project.root / "out").exists()
    served = VideoModel()
    served._predictor = Predictor.load(model)
    with pytest.raises(MlflowException) as raised:  # which is no fault of the client's
        served.predict(None, pd.DataFrame({"video": ["x.mp4"]}))
    assert (raised.value.error_code, raised.value.message) == ("INTERNAL_ERROR", refusal)


def test_weights_that_overflow_when_they_are_loaded_are_refused_by_name(filled):
    model = filled(1e300, torch.float64)
    with pytest.raises(BadInputError, match=rf"weights of {model}, .* hold NaN or infinity in \S+\.weight"):
        Predictor.load(model)


@pytest.mark.parametrize(
    ("section", "value", "words"),
    [
        ("fusion", [], "fusion: must be a valid dictionary"),
        ("fusion", {"k": 32}, "fusion.name: Field required"),
        ("fusion", {"name": 7}, "fusion.name: must be a valid string"),
        ("fusion", {"name": "jca", "audio_dim": 10**9}, "do not fit"),
        ("fusion", {"name": "jca", "audio_dim": -5}, "fusion.audio_dim: must be greater than or equal to 1"),
        ("corpus", 5, "corpus: must be a valid dictionary"),
        ("geometry", {"clip_frames": -5}, "geometry.clip_frames: must be greater than or equal to 1"),
        ("geometry", {"target_offset": 10**30}, "geometry.target_offset"),
        ("inference", "sometimes", "inference: must be 'overlap', 'tile' or 'causal'"),
        ("notes", 5, "notes"),
        ("feature_spec", None, "has no feature_spec"),
        ("feature_spec.geometry", {"clip_frames": 10**9, "kept_frames": 8, "fps": 25.0}, "geometry.clip_frames"),
        ("feature_spec.geometry", {"clip_frames": 32, "kept_frames": 8, "fps": 0.0}, "geometry.fps"),
        ("feature_spec.stride", -5, "stride"),
        ("feature_spec.audio.hop_length", 0, "audio.hop_length"),
        ("feature_spec.backbones.audio.sha256", 5, "sha256 is 5: must be a text"),
        ("frames", {"detect_every": 0}, "frames.detect_every"),
    ],
)
def test_configs_of_wrong_types_and_absurd_sizes(section, value, words, trained_models, tmp_path):
    ModelFolder.open(trained_models / "fusion").copy_to(tmp_path)
    path = tmp_path / "fusion" / "config.json"
    config = json.loads(path.read_text())
    *parents, last = section.split(".")
    place = config
    for name in parents:
        place = place[name]
    place[last] = value
    path.write_text(json.dumps(config))
    with pytest.raises(BadInputError) as caught:
        Predictor.load(tmp_path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", ["[" * 50_000, "[" * 50_000 + "]" * 50_000, '{"a": 1' + "0" * 9000 + "}", "x", "[]"]
)
def test_configs_that_are_no_json_object(content, trained_models, tmp_path):
    ModelFolder.open(trained_models / "fusion").copy_to(tmp_path)
    (tmp_path / "fusion" / "config.json").write_text(content)
    with pytest.raises(BadInputError, match=r"config\.json is no"):
        Predictor.load(tmp_path)


@pytest.mark.parametrize("state", [{1: torch.zeros(2)}, {"net": {1: torch.zeros(2)}}, [torch.zeros(2)], {"a": 1}])
def test_a_checkpoint_of_other_things(state, tmp_path):
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(BadInputError, match=r"model\.pt holds no mapping of names to tensors"):
        load_paper_jca(tmp_path / "model.pt")
