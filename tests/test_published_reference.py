"""The published code's tensors, all of them, where the reference stands beside the project."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from avfusion.backbones import load_tsav
from avfusion.fusion import load_jointcam
from tests.published_checkpoints import seeded_state_dict, write_jointcam, write_tsav

REFERENCE = Path(__file__).parents[2] / "shared" / "reference"

pytestmark = pytest.mark.skipif(not REFERENCE.is_dir(), reason=f"{REFERENCE} is not there")


@torch.inference_mode()
def test_every_tensor_of_tsav(tmp_path: Path) -> None:
    expected = load_file(REFERENCE / "tsav_expected.safetensors")
    path = write_tsav(tmp_path / "tsav.pth.tar", seeded_state_dict("tsav"))
    audio, visual, head = load_tsav(path)
    ours = {"audio_features": audio(expected["spectrogram"]), "visual_features": visual(expected["clip_rgb"].float())}
    ours["tsav_output"] = head(ours["audio_features"], ours["visual_features"])
    ours["visual_map"] = load_tsav(path, output="map")[1](expected["clip_rgb"].float())
    assert ours.keys() == expected.keys() - {"spectrogram", "clip_rgb"}
    for name, tensor in ours.items():
        assert (tensor - expected[name]).abs().max() < 1e-5, name


@torch.inference_mode()
def test_every_tensor_of_jointcam(tmp_path: Path) -> None:
    expected = load_file(REFERENCE / "jointcam_expected.safetensors")
    model = load_jointcam(write_jointcam(tmp_path / "jointcam.pt", seeded_state_dict("jointcam")))
    ours = {}
    model.spatial_attention.register_forward_hook(lambda _, __, out: ours.update(visual_after_spatial_attention=out[0]))
    model.sequence.register_forward_hook(lambda _, __, out: ours.update(fused=out))
    out = model(expected["audio"], expected["visual_map"])
    ours |= {
        "spatial_attention": out.maps["spatial_attention"],
        "coattended_audio": out.attended_audio,
        "coattended_visual": out.attended_visual,
        "valence": out.predictions[..., 0],
        "arousal": out.predictions[..., 1],
    }
    assert ours.keys() == expected.keys() - {"audio", "visual_map"}
    for name, tensor in ours.items():
        assert (tensor - expected[name]).abs().max() < 1e-5, name
