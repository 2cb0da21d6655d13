"""What every registered backbone must do, and what the full-size ones share with torchvision's."""

from pathlib import Path

import pytest
import torch
from torchvision.models import ResNet18_Weights, resnet18
from torchvision.models.video import R2Plus1D_18_Weights, r2plus1d_18

from avfusion.backbones.catalogue import (
    backbone_names,
    feature_shape,
    find_backbone,
    pretrained_sources,
)
from avfusion.backbones.pretrained import start_backbone
from avfusion.backbones.registry import build_backbone, visual_transform
from avfusion.backbones.weights import load_backbone, save_backbone
from avfusion.data.feature_spec import VisualTransform
from avfusion.runtime.errors import AVFusionError, BadInputError

STREAM = {name: stream for stream in ("visual", "audio") for name in backbone_names(stream)}
PRETRAINED = {name: source for source, names in pretrained_sources().items() for name in names}
SMALL_INPUT = {"visual": (3, 8, 48, 48), "audio": (1, 64, 61)}
MAP_SIDE = {"narrow_r2plus1d": 3, "r2plus1d_18": 3, "narrow_resnet_frames": 2, "resnet18_frames": 2}  # of 48 pixels
WITHOUT_MAP = ("log_mel_statistics",)
FEATURE_DIM = {"log_mel_statistics": 128}  # of 64 bands; the others: 8 widths


def build(name, **options):
    stream = STREAM[name]
    options.setdefault("width", find_backbone(stream, name).given.get("width", 8))
    options.setdefault("input_size", 48 if stream == "visual" else 64)
    torch.manual_seed(3)
    return build_backbone(name, stream=stream, **options)


def inputs(name, count=3):
    return torch.randn(count, *SMALL_INPUT[STREAM[name]], generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", STREAM)
def test_features_and_every_gradient(name):
    backbone = build(name, dropout=0.5)
    features = backbone(inputs(name))
    assert features.shape == (3, backbone.feature_dim)
    assert backbone.feature_dim == FEATURE_DIM.get(name, 8 * backbone.width)
    assert (backbone.feature_dim,) == feature_shape(backbone.stream, name, backbone.width, backbone.input_size)
    assert backbone.stream == STREAM[name]
    predictions = backbone.head(features)
    assert predictions.shape == (3, 2)
    (predictions * torch.tensor([1.0, -2.0])).pow(2).sum().backward()
    dead = [key for key, value in backbone.named_parameters() if value.grad is None or not value.grad.abs().sum() > 0]
    assert dead == []
    assert all(value.grad.isfinite().all() for value in backbone.parameters())


@pytest.mark.parametrize("name", STREAM)
def test_same_seed_same_bits(name):
    clips = inputs(name)
    assert torch.equal(build(name).eval()(clips), build(name).eval()(clips))


@pytest.mark.parametrize("name", STREAM)
def test_a_clips_feature_is_its_own(name):
    backbone, clips = build(name).eval(), inputs(name, 5)
    together = backbone(clips)
    for clip in range(5):
        torch.testing.assert_close(backbone(clips[clip : clip + 1])[0], together[clip], atol=1e-5, rtol=1e-5)
    others = torch.cat([clips[:1], torch.zeros_like(clips[1:])])
    torch.testing.assert_close(backbone(others)[0], together[0], atol=1e-5, rtol=1e-5)
    assert (together[0] - together[1]).abs().max() > 1e-3


@pytest.mark.parametrize("name", STREAM)
def test_in_bfloat16_it_is_finite_and_close(name):
    backbone, clips = build(name).eval(), inputs(name)
    with torch.inference_mode():
        exact = backbone(clips)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = backbone(clips).float()
        half = backbone.bfloat16()(clips.bfloat16())
    assert half.dtype is torch.bfloat16
    for features in (mixed, half.float()):
        assert features.isfinite().all()
        assert (features - exact).square().mean().sqrt() < 0.05 * exact.square().mean().sqrt()


@pytest.mark.parametrize("name", STREAM)
def test_its_config_builds_it_again(name):
    backbone = build(name)
    again = build_backbone(**backbone.config())
    assert again.config() == backbone.config()
    shapes = {key: value.shape for key, value in backbone.state_dict().items()}
    assert {key: value.shape for key, value in again.state_dict().items()} == shapes


@pytest.mark.parametrize("name", [name for name in STREAM if name not in WITHOUT_MAP])
def test_map_averages_to_the_pooled_feature(name):
    pooled, spatial = build(name).eval(), build(name, output="map").eval()
    clips = inputs(name)
    maps = spatial(clips)
    assert maps.shape[:2] == (3, pooled.feature_dim)
    assert maps.ndim == 4
    if spatial.stream == "visual":
        assert maps.shape[2:] == (MAP_SIDE[name], MAP_SIDE[name])
        assert feature_shape("visual", name, spatial.width, 48, "map") == maps[0].shape == spatial.feature_shape
    torch.testing.assert_close(maps.mean(dim=(2, 3)), pooled(clips), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", STREAM)
def test_saved_and_loaded_it_gives_the_same_bits(name, tmp_path):
    backbone = build(name).eval()
    known = {"provenance": {"start": {"weights": "random"}}, "metrics": {"val_ccc_mean": 0.5}}
    record = save_backbone(tmp_path, backbone, **known)
    loaded, read = load_backbone(tmp_path, backbone.stream)
    assert read == record
    assert read.metrics == {"val_ccc_mean": 0.5}
    clips = inputs(name)
    assert torch.equal(loaded(clips), backbone(clips))
    assert torch.equal(loaded.head(loaded(clips)), backbone.head(backbone(clips)))
    again = save_backbone(tmp_path / "again", backbone)
    assert again.identity.sha256 == record.identity.sha256


@pytest.mark.parametrize("name", backbone_names("audio"))
def test_audio_takes_any_length(name):
    backbone = build(name).eval()
    for frames in (30, 104, 125, 126):
        assert backbone(torch.zeros(1, 1, 64, frames)).shape == (1, backbone.feature_dim)
    # A stationary spectrogram gives nearly the same feature however long it is: time is pooled, not flattened.
    stripes = torch.randn(1, 1, 64, 1, generator=torch.Generator().manual_seed(2))
    long, longer = (backbone(stripes.expand(1, 1, 64, frames)) for frames in (512, 1024))
    torch.testing.assert_close(long, longer, atol=0.05 * long.abs().max().item(), rtol=0)


def test_r2plus1d_18_at_the_papers_size_is_torchvisions():
    reference = r2plus1d_18(weights=None).eval()
    backbone = build_backbone("r2plus1d_18", stream="visual").eval()
    names = {key for key in reference.state_dict() if not key.startswith("fc.")}
    assert set(backbone.network.state_dict()) == names
    backbone.network.load_state_dict({key: reference.state_dict()[key] for key in names})
    reference.fc = torch.nn.Identity()
    clip = torch.randn(1, 3, 8, 112, 112, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        feature, expected = backbone(clip), reference(clip)
        backbone.network.output = "map"
        spatial = backbone(clip)
    assert feature.shape == (1, 512)
    assert spatial.shape == (1, 512, 7, 7)
    torch.testing.assert_close(feature, expected, atol=1e-5, rtol=1e-5)


def test_resnet18_is_torchvisions_with_one_channel():
    reference = resnet18(weights=None).eval()
    reference.conv1 = torch.nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    backbone = build_backbone("resnet18", stream="audio").eval()
    names = {key for key in reference.state_dict() if not key.startswith("fc.")}
    assert set(backbone.network.state_dict()) == names
    backbone.network.load_state_dict({key: reference.state_dict()[key] for key in names})
    reference.fc = torch.nn.Identity()
    clips = torch.randn(2, 1, 64, 104, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert backbone(clips).shape == (2, 512)
        torch.testing.assert_close(backbone(clips), reference(clips), atol=1e-5, rtol=1e-5)


def test_resnet18_frames_is_the_mean_of_torchvisions_over_frames():
    reference = resnet18(weights=None).eval()
    reference.fc = torch.nn.Identity()
    backbone = build_backbone("resnet18_frames", stream="visual").eval()
    backbone.network.load_state_dict(reference.state_dict())
    clips = torch.randn(2, 3, 8, 112, 112, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = torch.stack([reference(clips[:, :, frame]) for frame in range(8)]).mean(dim=0)
        torch.testing.assert_close(backbone(clips), expected, atol=1e-5, rtol=1e-5)
    assert feature_shape("visual", "resnet18_frames", 64, 112, "map") == (512, 4, 4)


def test_log_mel_statistics_are_those_of_each_band_over_time():
    backbone = build("log_mel_statistics")
    clips = inputs("log_mel_statistics")
    features = backbone(clips).numpy()
    assert features[:, :64] == pytest.approx(clips[:, 0].numpy().mean(axis=2), abs=1e-5)
    assert features[:, 64:] == pytest.approx(clips[:, 0].numpy().std(axis=2), abs=1e-5)
    assert list(backbone.state_dict()) == ["head.linear.weight", "head.linear.bias"]


def test_colours_are_normalised_as_for_the_published_weights():
    for name in ("narrow_r2plus1d", "r2plus1d_18"):
        assert visual_transform(name, 56) == VisualTransform(input_size=56)
    frames = visual_transform("resnet18_frames", 112)
    expected = ResNet18_Weights.IMAGENET1K_V1.transforms()
    assert (frames.input_size, list(frames.mean), list(frames.std)) == (112, expected.mean, expected.std)


@pytest.mark.parametrize(("name", "weights"), PRETRAINED.items())
def test_torchvisions_weights_load_where_they_lie_in_its_cache(name, weights, tmp_path, monkeypatch):
    enum = R2Plus1D_18_Weights.KINETICS400_V1 if weights == "kinetics400" else ResNet18_Weights.IMAGENET1K_V1
    torch.manual_seed(4)
    reference = r2plus1d_18(weights=None) if weights == "kinetics400" else resnet18(weights=None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(reference.state_dict(), tmp_path / "hub" / "checkpoints" / enum.url.rsplit("/", 1)[1])
    stream = STREAM[name]
    network = start_backbone(name, stream=stream, weights=weights).network
    given = {key: value for key, value in reference.state_dict().items() if not key.startswith("fc.")}
    if stream == "audio":
        given["conv1.weight"] = given["conv1.weight"].sum(dim=1, keepdim=True)
    assert network.state_dict().keys() == given.keys()
    assert all(torch.equal(value, given[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("name", "stream", "options", "said"),
    [
        ("resnet50", "audio", {}, "must be one of narrow_resnet, resnet18, log_mel_statistics"),
        ("resnet18", "visual", {}, "must be one of narrow_r2plus1d, r2plus1d_18, narrow_resnet_frames, "),
        ("resnet18_frames", "visual", {"width": 8}, "must be 64"),
        ("log_mel_statistics", "audio", {"output": "map"}, "has no map"),
        ("r2plus1d_18", "visual", {"width": 32}, "must be 64"),
        ("narrow_r2plus1d", "visual", {"input_size": 224}, "16 to 112"),
        ("narrow_resnet", "audio", {"output": "vector"}, "pooled, map"),
    ],
)
def test_what_cannot_be_built_is_named(name, stream, options, said):
    with pytest.raises(BadInputError, match=said):
        build_backbone(name, stream=stream, **options)


def test_the_documentation_has_a_line_for_each():
    page = (Path(__file__).parents[2] / "docs" / "backbones.md").read_text(encoding="utf-8")
    lines = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    assert lines.keys() == STREAM.keys()
    for name, line in lines.items():
        start = line.split("|")[4].strip()
        assert start.startswith(f"`{PRETRAINED[name]}`") if name in PRETRAINED else start == ""


def test_a_changed_weights_file_is_refused(tmp_path):
    backbone = build("narrow_resnet")
    save_backbone(tmp_path, backbone)
    torch.nn.init.ones_(backbone.head.linear.bias)
    save_backbone(tmp_path / "other", backbone)
    (tmp_path / "other" / "audio.safetensors").replace(tmp_path / "audio.safetensors")
    with pytest.raises(AVFusionError, match="SHA-256"):
        load_backbone(tmp_path, "audio")
