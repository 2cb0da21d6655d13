"""Options of jca's correlation C: off they change nothing, on they do what they say."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from avfusion.fusion import build_fusion
from avfusion.fusion.correlation import correlate, tanh_gain
from tests.fusion.test_equations import REAL, Case, L, layer_norm, make

AWAKE = {"correlation_norm": True, "correlation_std": 0.5, "correlation_dropout": 0.3}
STREAMS = ("audio", "visual")


def built(**options: Any) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Weights of a new model, and the number that is drawn next."""
    torch.manual_seed(0)
    model = build_fusion("jca", audio_dim=5, visual_dim=7, encoder_width=8, **options)
    return model.state_dict(), torch.rand(1)


@pytest.mark.parametrize("scale", ["width", "length", "learnt"])
def test_options_draw_nothing_and_change_no_other_weight(scale: str) -> None:
    (plain, drawn), (awake, next_drawn) = built(), built(correlation_scale=scale, **AWAKE)
    assert torch.equal(drawn, next_drawn)
    added = {f"{stream}_norm.{kind}" for stream in STREAMS for kind in ("weight", "bias")}
    added |= {f"{stream}_attention.gain" for stream in STREAMS} if scale == "learnt" else set()
    assert awake.keys() - plain.keys() == added
    scaled = {f"{stream}_attention.joint.weight" for stream in STREAMS} if scale != "learnt" else set()
    assert {key for key in plain if not torch.equal(plain[key], awake[key])} == scaled


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("scale", ["width", "length", "learnt"])
def test_equations(scale: str, norm: bool) -> None:
    model = make("jca", k=3, correlation_scale=scale, correlation_norm=norm)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "gain" in name or "norm" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    case = Case(model)

    def seen(stream: str, x: np.ndarray) -> np.ndarray:
        if not norm:
            return x
        normed = layer_norm(x.T) * case.weight(f"{stream}_norm.weight") + case.weight(f"{stream}_norm.bias")
        return np.where(np.arange(L) < REAL, normed.T, 0)

    streams = {"audio": case.x_a, "visual": case.x_v}
    joint = np.concatenate([seen(stream, x) for stream, x in streams.items()])
    attended = {}
    for stream, x in streams.items():
        factor = math.sqrt(L) / REAL if scale == "length" else 1 / math.sqrt(len(joint))
        if scale == "learnt":
            factor *= case.weight(f"{stream}_attention.gain")
        weight = {name: case.weight(f"{stream}_attention.{name}.weight") for name in ("joint", "correlation", "stream")}
        c = np.tanh(factor * seen(stream, x) @ weight["joint"] @ joint.T)
        case.check_map(f"{stream}_correlation", c)
        hidden = np.maximum(weight["correlation"] @ c.T + weight["stream"] @ x.T, 0)
        attended[stream] = (case.weight(f"{stream}_attention.output.weight") @ hidden).T + x
    case.check(case.heads(np.concatenate([attended["visual"], attended["audio"]]).T))


@torch.no_grad()
def spread_at_start(clips: int, **options: Any) -> float:
    """Standard deviation of C's entries in sequences of `clips` clips and padding, over new models."""
    torch.manual_seed(0)
    padding = (torch.arange(16) >= clips).expand(3, -1)
    entries = []
    for _ in range(4):
        model = build_fusion("jca", audio_dim=48, visual_dim=64, encoder_width=32, **options).eval()
        out = model(torch.randn(3, 16, 48), torch.randn(3, 16, 64), padding=padding)
        entries += [out.maps[f"{stream}_correlation"] for stream in STREAMS]
    return float(torch.stack(entries).std())


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("scale", ["width", "length", "learnt"])
def test_the_correlation_starts_with_the_spread_asked_for(scale: str, norm: bool) -> None:
    for std in (0.2, 0.8):
        options = {"correlation_scale": scale, "correlation_norm": norm, "correlation_std": std}
        assert spread_at_start(16, **options) == pytest.approx(std, rel=0.07)


def test_by_length_short_sequences_have_the_same_spread_and_otherwise_less() -> None:
    for scale, alike in (("length", True), ("width", False)):
        full, short = (spread_at_start(n, correlation_scale=scale, correlation_std=0.5) for n in (16, 4))
        assert (abs(short / full - 1) < 0.15) == alike


@pytest.mark.parametrize("std", [0.05, 0.5, 0.9])
def test_the_gain_of_a_tanh_gives_its_output_the_spread(std: float) -> None:
    x = 0.2 * torch.randn(10**6, generator=torch.Generator().manual_seed(0))
    assert float(torch.tanh(tanh_gain(0.2, std) * x).std()) == pytest.approx(std, rel=5e-3)


def test_dropout_hides_entries_of_the_correlation_from_its_weights_alone() -> None:
    torch.manual_seed(0)
    keys, joint = torch.randn(6, 5, 8), torch.randn(6, 5, 16)
    whole = torch.tanh(keys.transpose(1, 2) @ joint)
    hidden, correlation = correlate(keys, joint, torch.eye(16), dropout=0.25)
    torch.testing.assert_close(correlation, whole)
    dropped = hidden == 0
    assert float(dropped.float().mean()) == pytest.approx(0.25, abs=0.03)
    torch.testing.assert_close(hidden[~dropped], (whole / 0.75).transpose(1, 2)[~dropped])


def test_dropout_is_for_training_alone() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(2, 16, 5), torch.randn(2, 16, 7)
    plain, dropping = (
        build_fusion("jca", audio_dim=5, visual_dim=7, dropout=0.0, correlation_dropout=share) for share in (0.0, 0.5)
    )
    dropping.load_state_dict(plain.state_dict())
    expected = plain(*inputs).predictions
    assert not torch.allclose(dropping(*inputs).predictions, expected)
    torch.testing.assert_close(dropping.eval()(*inputs).predictions, expected)
