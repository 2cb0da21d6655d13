"""The published fusion network, tensor by tensor, and checkpoints that are not its own."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from avfusion.fusion import FusionModel, build_fusion, load_jointcam
from avfusion.fusion.inference import predict_clips
from avfusion.runtime.errors import BadInputError
from tests.published_checkpoints import DATA, seeded_state_dict, write_jointcam


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return seeded_state_dict("jointcam")


@pytest.fixture(scope="module")
def path(state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_jointcam(tmp_path_factory.mktemp("jointcam") / "jointcam.pt", state)


@pytest.fixture
def model(path: Path) -> FusionModel:
    return load_jointcam(path)


@pytest.fixture(scope="module")
def expected() -> dict[str, Tensor]:
    return load_file(DATA / "jointcam_expected.safetensors")


def first_clip_only(expected: dict[str, Tensor]) -> Tensor:
    visual = torch.zeros(1, 16, 512, 7, 7)
    visual[:, :1] = expected["visual_map"]
    return visual


@torch.inference_mode()
def test_spatial_attention_agrees_with_the_published_code(model: FusionModel, expected: dict[str, Tensor]) -> None:
    seen: list[Tensor] = []
    model.spatial_attention.register_forward_hook(lambda _, __, out: seen.append(out[0]))
    out = model(expected["audio"], first_clip_only(expected))
    attention = expected["spatial_attention"][:, :1]
    assert (out.maps["spatial_attention"][:, :1] - attention).abs().max() < 1e-5
    assert attention.max() > 3 / 49, "a flat attention would show nothing"
    assert (seen[0][:, :1] - expected["visual_after_spatial_attention"][:, :1]).abs().max() < 1e-5


@torch.inference_mode()
def test_what_follows_agrees_with_the_published_code(model: FusionModel, expected: dict[str, Tensor]) -> None:
    fused: list[Tensor] = []
    model.spatial_attention.register_forward_hook(
        lambda _, __, out: (expected["visual_after_spatial_attention"], out[1])
    )
    model.sequence.register_forward_hook(lambda _, __, out: fused.append(out))
    out = model(expected["audio"], first_clip_only(expected))
    ours = {
        "coattended_audio": out.attended_audio,
        "coattended_visual": out.attended_visual,
        "fused": fused[0],
        "valence": out.predictions[..., 0],
        "arousal": out.predictions[..., 1],
    }
    for name, tensor in ours.items():
        assert (tensor - expected[name]).abs().max() < 1e-5, name
        assert expected[name].abs().max() > 0.01, name


@torch.inference_mode()
def test_flattened_maps_and_their_scale_change_nothing(model: FusionModel) -> None:
    generator = torch.Generator().manual_seed(3)
    audio, visual = torch.randn(2, 16, 512, generator=generator), torch.rand(2, 16, 512, 7, 7, generator=generator)
    predictions = model(audio, visual).predictions
    assert torch.equal(model(audio, visual.flatten(2)).predictions, predictions)
    torch.testing.assert_close(model(3 * audio, 0.2 * visual).predictions, predictions, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_absent_and_padded_clips_are_zeros(model: FusionModel) -> None:
    generator = torch.Generator().manual_seed(4)
    audio, visual = torch.randn(1, 16, 512, generator=generator), torch.rand(1, 16, 512, 7, 7, generator=generator)
    here = torch.ones(1, 16, dtype=torch.bool)
    no_audio, no_face, padding = here.clone(), here.clone(), ~here
    no_audio[0, 3], no_face[0, 5:7], padding[0, 14:] = False, False, True
    masked = model(audio, visual, no_audio, no_face, padding).predictions
    zeroed_audio, zeroed_visual = audio.clone(), visual.clone()
    zeroed_audio[0, [3, 14, 15]], zeroed_visual[0, [5, 6, 14, 15]] = 0, 0
    assert torch.equal(masked, model(zeroed_audio, zeroed_visual).predictions)
    assert (masked - model(audio, visual).predictions).abs().max() > 1e-4


def test_inference_holds_clips_without_streams_and_pads_short_tracks(model: FusionModel) -> None:
    generator = torch.Generator().manual_seed(5)
    audio, visual = torch.randn(5, 512, generator=generator), torch.rand(5, 512, 7, 7, generator=generator)
    present = torch.tensor([True, True, False, True, False])
    predictions, _ = predict_clips(model, audio, visual, present, present, stride=32)
    np.testing.assert_allclose(predictions[2], (predictions[1] + predictions[3]) / 2, atol=1e-6)
    np.testing.assert_array_equal(predictions[4], predictions[3])


def test_legacy_container_and_safetensors_give_the_same(
    state: dict[str, Tensor], tmp_path: Path, model: FusionModel
) -> None:
    save_file(state, tmp_path / "jointcam.safetensors")
    write_jointcam(tmp_path / "legacy.pt", state, legacy=True)
    for name in ("legacy.pt", "jointcam.safetensors"):
        loaded = load_jointcam(tmp_path / name).state_dict()
        assert all(torch.equal(value, loaded[key]) for key, value in model.state_dict().items())
    assert not model.training


def test_missing_unexpected_and_misshapen_tensors_are_named(state: dict[str, Tensor], tmp_path: Path) -> None:
    changed = state | {"surprise.weight": torch.zeros(1), "Joint.init_hidden": torch.zeros(8, 3)}
    del changed["coattn.dcn_layers.0.linears.1.0.bias"]
    with pytest.raises(BadInputError) as caught:
        load_jointcam(write_jointcam(tmp_path / "odd.pt", changed))
    assert "odd.pt" in str(caught.value)
    assert "missing coattn.dcn_layers.0.linears.1.0.bias" in str(caught.value)
    assert "unexpected surprise.weight" in str(caught.value)
    assert "Joint.init_hidden is (8, 3), (8, 256) is needed" in str(caught.value)


def test_another_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"missing Joint\.init_hidden.* and \d+ more; unexpected W_a\.weight"):
        load_jointcam(write_jointcam(tmp_path / "jca.pt", seeded_state_dict("paper_jca")))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_not_finite_is_named(state: dict[str, Tensor], tmp_path: Path, value: float) -> None:
    changed = state | {"vregressor.3.bias": torch.tensor([value])}
    with pytest.raises(BadInputError, match=r"NaN or infinity in vregressor\.3\.bias"):
        load_jointcam(write_jointcam(tmp_path / "nan.pt", changed))


@pytest.mark.parametrize("legacy", [True, False])
def test_a_payload_is_refused_and_not_executed(state: dict[str, Tensor], tmp_path: Path, legacy: bool) -> None:
    class Payload:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "executed"),))

    path = tmp_path / "evil.pt"
    torch.save({"net": {}, "best_Val_accV": Payload()}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(BadInputError, match=r"evil\.pt names \S+, which no checkpoint of tensors needs"):
        load_jointcam(path)
    assert not (tmp_path / "executed").exists()


def test_a_truncated_file_is_refused(path: Path, tmp_path: Path) -> None:
    whole = path.read_bytes()
    for size in (0, 10, len(whole) - 1000):
        (tmp_path / "short.pt").write_bytes(whole[:size])
        with pytest.raises(BadInputError, match=r"short\.pt is not a whole checkpoint"):
            load_jointcam(tmp_path / "short.pt")


def test_its_shape_is_fixed(model: FusionModel) -> None:
    with pytest.raises(
        BadInputError, match=r"audio_dim 512, visual_dim 512 .* length 16 are needed, not 24, 512 and 16"
    ):
        build_fusion("released_coattention", audio_dim=24)
    with pytest.raises(BadInputError, match=r"takes visual maps, not pooled features: set backbones\.output to map"):
        model(torch.zeros(1, 16, 512), torch.zeros(1, 16, 512))
    with pytest.raises(BadInputError, match=r"visual maps have shape \(1, 16, 512, 4, 4\)"):
        model(torch.zeros(1, 16, 512), torch.zeros(1, 16, 512, 4, 4))
    with pytest.raises(ValueError, match=r"audio features have shape \(1, 8, 512\)"):
        model(torch.zeros(1, 8, 512), torch.zeros(1, 16, 512, 7, 7))
