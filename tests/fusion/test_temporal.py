"""Temporal layers against the tensors of published code, and what they do with padding."""

from collections.abc import Callable

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from avfusion.fusion import build_fusion
from avfusion.fusion.temporal import TCN, BatchNormHead, MaskedBatchNorm, TemporalEncoder
from avfusion.runtime.errors import BadInputError
from tests.published_checkpoints import DATA

WIDTHS = {"visual": (18, (22, 22, 24)), "audio": (14, (14, 20))}
NAMES = {"visual": "video", "audio": "logmel"}


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    return load_file(DATA / "temporal_expected.safetensors")


def fill(norm: MaskedBatchNorm, published: dict[str, torch.Tensor], key: str) -> None:
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(norm.norm, name).data.copy_(published[f"weights.{key}.{name}"])


def front_end(published: dict[str, torch.Tensor], stream: str) -> TemporalEncoder:
    dim, widths = WIDTHS[stream]
    encoder = TemporalEncoder(dim, widths, kernel=3)
    weights = {name.removeprefix("weights."): value for name, value in published.items()}
    fill(encoder.norm, published, f"bn.{NAMES[stream]}")
    for number, block in enumerate(encoder.tcn.blocks):
        key = f"temporal.{NAMES[stream]}.network.{number}"
        for conv, layer in ((block.first, "conv1"), (block.second, "conv2")):
            conv.gain.data.copy_(weights[f"{key}.{layer}.weight_g"])
            conv.direction.data.copy_(weights[f"{key}.{layer}.weight_v"])
            conv.bias.data.copy_(weights[f"{key}.{layer}.bias"])
        if isinstance(block.residual, nn.Conv1d):
            block.residual.weight.data.copy_(weights[f"{key}.downsample.weight"])
            block.residual.bias.data.copy_(weights[f"{key}.downsample.bias"])
    return encoder.eval()


def head(published: dict[str, torch.Tensor]) -> BatchNormHead:
    made = BatchNormHead(44, 28)
    for layer, key in ((made.hidden, "regressor1"), (made.output, "regressor2")):
        layer.weight.data.copy_(published[f"weights.{key}.weight"])
        layer.bias.data.copy_(published[f"weights.{key}.bias"])
    fill(made.norm, published, "bn1")
    return made.eval()


def all_valid(clips: torch.Tensor) -> torch.Tensor:
    return torch.ones(clips.shape[:2], dtype=torch.bool)


@pytest.mark.parametrize("stream", WIDTHS)
@torch.no_grad()
def test_front_end_gives_the_published_tensors(published: dict[str, torch.Tensor], stream: str) -> None:
    encoder, letter = front_end(published, stream), stream[0]
    clips = published[f"in.x_{letter}"]
    rows, valid = clips.transpose(1, 2), all_valid(clips)
    for number, block in enumerate(encoder.tcn.blocks):
        rows = block(rows, valid[:, None])
        expected = published[f"mid.tcn_{letter}_{number}"]
        torch.testing.assert_close(rows.transpose(1, 2), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(encoder(clips, valid), published[f"mid.T_{letter}"], atol=1e-5, rtol=0)


@torch.no_grad()
def test_head_gives_the_published_predictions(published: dict[str, torch.Tensor]) -> None:
    made, fused = head(published), published["mid.c"]
    hidden = made.norm(made.hidden(fused), all_valid(fused))
    torch.testing.assert_close(hidden, published["mid.h"], atol=1e-5, rtol=0)
    torch.testing.assert_close(made(fused, all_valid(fused)), published["out.y"], atol=1e-5, rtol=0)


MISTAKES = {
    "ReLU in the place of LeakyReLU": lambda patch: patch.setattr(F, "leaky_relu", F.relu),
    "no weight normalisation": lambda patch: patch.setattr(F, "normalize", lambda rows, dim: rows),
    "convolutions that see the future": lambda patch: patch.setattr(
        F, "pad", lambda rows, sides, pad=F.pad: pad(rows, (sides[0] // 2, sides[0] // 2))
    ),
    "no tanh": lambda patch: patch.setattr(torch, "tanh", lambda rows: rows),
}


@pytest.mark.parametrize("mistake", MISTAKES)
@torch.no_grad()
def test_a_mistake_would_be_seen(
    published: dict[str, torch.Tensor], mistake: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, last = front_end(published, "visual"), head(published)
    MISTAKES[mistake](monkeypatch)
    clips, fused = published["in.x_v"], published["mid.c"]
    found = (encoder(clips, all_valid(clips)) - published["mid.T_v"]).abs().max()
    found = torch.maximum(found, (last(fused, all_valid(fused)) - published["out.y"]).abs().max())
    assert found > 1e-3


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "TCN": lambda: TCN(3, (4, 5), kernel=2, dropout=0.0),
    "front end": lambda: TemporalEncoder(3, (4, 5), kernel=2, dropout=0.0),
    "head": lambda: BatchNormHead(3, 4),
}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("front", [0, 3])
@pytest.mark.parametrize("layer", LAYERS)
def test_padding_at_either_end_has_no_effect(layer: str, front: int, training: bool) -> None:
    torch.manual_seed(0)
    alone = LAYERS[layer]().double().train(training)
    with torch.no_grad():
        for parameter in alone.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))  # biases start at zero
    beside = LAYERS[layer]().double().train(training)
    beside.load_state_dict(alone.state_dict())
    clips = torch.randn(2, 4, 3, dtype=torch.float64)
    padded, valid = torch.zeros(2, 7, 3, dtype=torch.float64), torch.zeros(2, 7, dtype=torch.bool)
    padded[:, front : front + 4], valid[:, front : front + 4] = clips, True
    torch.testing.assert_close(beside(padded, valid)[:, front : front + 4], alone(clips, all_valid(clips)))
    statistics = (
        {name: value for name, value in each.named_buffers() if "running" in name} for each in (alone, beside)
    )
    expected, found = statistics
    torch.testing.assert_close(found, expected)


def test_a_clip_sees_as_many_earlier_clips_as_the_docstring_says() -> None:
    torch.manual_seed(0)
    layer = TCN(2, (3, 3), kernel=3, dropout=0.0).eval()
    clips = torch.randn(1, 16, 2, requires_grad=True)
    layer(clips, all_valid(clips))[0, 15].sum().backward()
    assert clips.grad is not None
    reached = clips.grad[0].abs().sum(dim=1).nonzero()[:, 0]
    assert reached.tolist() == list(range(15 - 2 * 2 * 3, 16))


@torch.no_grad()
def test_bilstm_is_recursive_jca_without_attention() -> None:
    torch.manual_seed(0)
    sizes = {"audio_dim": 5, "visual_dim": 7, "length": 6}
    full = build_fusion("recursive_jca", **sizes, encoder_width=4, head_hidden=3).eval()
    for name, parameter in full.named_parameters():
        if name.endswith("output.weight"):
            parameter.zero_()  # W_h: attention adds nothing
    control = build_fusion(
        "temporal_concat", **sizes, encoder_width=4, temporal="bilstm", head="linear", head_hidden=3
    ).eval()  # fmt: skip
    shared = {key.replace("lstm", "temporal", 1) if key[0] in "av" else key: key for key in full.state_dict()}
    control.load_state_dict({new: full.state_dict()[old] for new, old in shared.items() if new in control.state_dict()})
    audio, visual, padding = torch.randn(2, 6, 5), torch.randn(2, 6, 7), torch.zeros(2, 6, dtype=torch.bool)
    padding[1, 4:] = True
    expected, found = (model(audio, visual, padding=padding).predictions[~padding] for model in (full, control))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("head", ["linear", "relu"])
def test_none_is_concat(head: str) -> None:
    torch.manual_seed(0)
    sizes = {"audio_dim": 5, "visual_dim": 7, "length": 6, "encoder_width": 4, "head_hidden": 3}
    control = build_fusion("temporal_concat", **sizes, temporal="none", head=head).eval()
    assert (len(control.heads.valence) == 4) == (head == "relu")
    if head == "relu":
        plain = build_fusion("concat", **sizes).eval()
        plain.load_state_dict(control.state_dict())
        audio, visual = torch.randn(2, 6, 5), torch.randn(2, 6, 7)
        assert torch.equal(plain(audio, visual).predictions, control(audio, visual).predictions)


def test_odd_width_of_a_bilstm_is_named() -> None:
    with pytest.raises(BadInputError, match="temporal_concat: encoder_width is 5: must be an even number with bilstm"):
        build_fusion("temporal_concat", temporal="bilstm", encoder_width=5)
