"""`faithful` modality_gate against the authors' code, tensor by tensor."""

import pytest
import torch
from torch import Tensor, nn

from avfusion.fusion import build_fusion, recurrent
from avfusion.fusion.published_forms.gated_recurrence import GatedRecurrence, SquashedScorer
from avfusion.fusion.published_forms.weights import load_faithful, load_network
from avfusion.runtime.errors import BadInputError
from tests.fusion.mistakes import Mistake
from tests.fusion.seeded_references import reference, seeded_state


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return load_network("modality_gate", seeded_state("modality_gate"))


@torch.no_grad()
def tensors(network: GatedRecurrence, given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Intermediates and outputs by the names of the reference."""
    found: dict[str, Tensor] = {}
    hooks = []

    def keep(module: nn.Module, key: str) -> None:
        hooks.append(module.register_forward_hook(lambda _, __, out: found.update({key: out})))

    for letter, scorer in (("a", network.audio_scorer), ("v", network.visual_scorer)):
        keep(scorer.gru, f"mid.R_{letter}")
        keep(scorer.linear, f"mid.score_{letter}")
        keep(scorer, f"h_{letter}")
    keep(network.visual_encoder, "mid.X_v")
    keep(network.gru, "mid.R")
    hooks.append(network.gru.register_forward_pre_hook(lambda _, inputs: found.update({"mid.f": inputs[0]})))
    here = torch.ones(given["in.x_a"].shape[:2], dtype=torch.bool)
    output = network(given["in.x_a"], given["in.x_v"], here, here, here)
    for hook in hooks:
        hook.remove()
    found["mid.h"] = torch.cat([found.pop("h_v"), found.pop("h_a")], dim=-1)
    return found | {"mid.g": output.maps["gates"].flip(-1), "out.y": output.predictions}


def test_every_tensor_agrees_with_the_authors_code(network: GatedRecurrence) -> None:
    expected = reference("modality_gate")
    found = tensors(network, expected)
    assert found.keys() == {key for key in expected if not key.startswith("in.")}
    for key, value in found.items():
        torch.testing.assert_close(value, expected[key], atol=1e-5, rtol=0, msg=lambda text, key=key: f"{key}: {text}")


@pytest.mark.parametrize(
    "mistake",
    [
        Mistake(SquashedScorer, "forward", "torch.sigmoid(", "("),
        Mistake(SquashedScorer, "forward", "self.gru(stream, valid)", "self.gru(stream.flip(1), valid)"),
        Mistake(GatedRecurrence, "forward", "squashed.softmax(dim=-1)", "squashed"),
        Mistake(GatedRecurrence, "forward", "audio_gate, visual_gate =", "visual_gate, audio_gate ="),
        Mistake(GatedRecurrence, "forward", "self.audio_scorer(x_a, valid)", "self.audio_scorer(x_v, valid)"),
        Mistake(GatedRecurrence, "forward", "self.gru(gated_a + gated_v, valid)", "self.gru(gated_v, valid)"),
        Mistake(
            recurrent.BidirectionalLayers,
            "forward",
            "back = _take(clips, (first + count - 1 - places) % length)",
            "back = ahead",
        ),
    ],
    ids=str,
)
def test_a_mistake_is_noticed(network: GatedRecurrence, monkeypatch: pytest.MonkeyPatch, mistake: Mistake) -> None:
    mistake.make(monkeypatch)
    expected = reference("modality_gate")
    assert (tensors(network, expected)["out.y"] - expected["out.y"]).abs().max() > 1e-3


def test_gates_are_never_far_from_one_half() -> None:
    model = build_fusion("modality_gate", audio_dim=4, visual_dim=4, encoder_width=4, faithful=True).eval()
    model.faithful.audio_scorer.linear.bias.data.fill_(100)
    model.faithful.visual_scorer.linear.bias.data.fill_(-100)
    gates = model(torch.randn(1, 16, 4), torch.randn(1, 16, 4)).maps["gates"]
    assert gates[0, 0].tolist() == pytest.approx([0.7311, 0.2689], abs=1e-4)


def test_weights_enter_the_model_and_those_that_do_not_fit_are_named() -> None:
    expected, state = reference("modality_gate"), seeded_state("modality_gate")
    model = load_faithful("modality_gate", state)
    found = model(expected["in.x_a"], expected["in.x_v"]).predictions
    torch.testing.assert_close(found, expected["out.y"], atol=1e-5, rtol=0)
    del state["fusion.gru.bias_hh_l1"]
    with pytest.raises(BadInputError, match=r"missing fusion\.gru\.bias_hh_l1"):
        load_faithful("modality_gate", state)
