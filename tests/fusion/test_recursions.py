"""GRJCA, HGRJCA and TAGF against the authors' code, tensor by tensor, and their options."""

import math

import pytest
import torch
from torch import Tensor

from avfusion.fusion import FusionModel, build_fusion
from avfusion.fusion.jca import CrossAttention
from avfusion.fusion.tagf import TimeAwareGate
from avfusion.runtime.errors import BadInputError
from tests.fusion.published_recursions import published, tensors
from tests.fusion.seeded_references import reference, seeded_normal, seeded_state

NAMES = ("grjca", "hgrjca", "tagf")


@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_agrees_with_the_authors_code(name: str) -> None:
    expected = reference(name)
    found = tensors(name, published(name, seeded_state(name)), expected["in.x_a"], expected["in.x_v"])
    assert {key for key in expected if not key.startswith("in.")} == found.keys()
    for key, value in found.items():
        assert (value - expected[key]).abs().max() < 1e-5, key


@pytest.mark.parametrize("name", ["grjca", *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES[1:])])
def test_published_sizes_agree_with_the_authors_code(name: str) -> None:
    expected = reference(f"{name}_native")
    audio, visual = seeded_normal((2, 300, 128), 900), seeded_normal((2, 300, 512), 901)
    found = tensors(name, published(name, seeded_state(f"{name}_native")), audio, visual)
    for key, value in expected.items():
        own = found[key.removesuffix("@3")]
        own = own[:, [0, 150, 299]] if key.endswith("@3") else own
        assert (own - value).abs().max() < 1e-5, key


@pytest.mark.parametrize("name", NAMES)
def test_missing_and_unexpected_tensors_are_named(name: str) -> None:
    state = seeded_state(name)
    state["bn.bert.bias"] = state.pop("bn.video.bias")
    with pytest.raises(BadInputError, match=r"missing bn\.video\.bias; unexpected bn\.bert\.bias$"):
        published(name, state)


def build(name: str, **options: object) -> FusionModel:
    torch.manual_seed(3)
    sizes = {"audio_dim": 6, "visual_dim": 7, "length": 5, "encoder_width": 8}
    return build_fusion(name, **sizes, **options).eval()  # type: ignore[arg-type]


def inputs() -> tuple[Tensor, Tensor]:
    return seeded_normal((2, 5, 6), 1), seeded_normal((2, 5, 7), 2)


def test_a_hierarchy_needs_two_steps() -> None:
    with pytest.raises(BadInputError, match="grjca: iterations is 1: must be 2 or more if hierarchical is true"):
        build("grjca", hierarchical=True, iterations=1)


@pytest.mark.parametrize(
    ("name", "options", "wrong"),
    [
        ("grjca", {"attention": "sparse"}, "attention is 'sparse': must be one of dense, joint"),
        ("grjca", {"iterations": 0}, "iterations is 0: must be a whole number from 1"),
        ("grjca", {"temperature": 0.0}, r"temperature is 0\.0: must be a number above 0"),
        ("tagf", {"score": "max"}, "score is 'max': must be one of mean, linear"),
        ("raav", {"visual_prior": 1.0}, r"visual_prior is 1\.0: must be a number above 0 to below 1"),
        ("raav", {"frames": "audio"}, "frames is 'audio': must be one of visual, both"),
        ("raav", {"heads": 3}, r"heads is 3: must be a divisor of encoder_width \(8\)"),
    ],
)
def test_options_that_cannot_be_are_named(name: str, options: dict[str, object], wrong: str) -> None:
    with pytest.raises(BadInputError, match=f"{name}: {wrong}"):
        build(name, **options)


@torch.no_grad()
def test_joint_attention_is_that_of_jca_with_weights_of_its_own_in_each_step() -> None:
    model = build("grjca", attention="joint", k=3, temporal="none", iterations=3)
    assert len({id(module) for module in model.modules() if isinstance(module, CrossAttention)}) == 6
    maps = model(*inputs()).maps
    here = torch.ones(2, 5, dtype=torch.bool)
    x = [
        torch.nn.functional.normalize(getattr(model, f"{stream}_encoder")(features, here, here), dim=-1)
        for stream, features in zip(("audio", "visual"), inputs(), strict=True)
    ]
    for t in range(3):
        step = model.get_submodule(f"attention.steps.{t}")
        joint = torch.cat(x, dim=-1)
        (x[0], c), (x[1], _) = step.get_submodule("audio")(x[0], joint), step.get_submodule("visual")(x[1], joint)
        torch.testing.assert_close(maps[f"audio_correlation_{t + 1}"], c)
    gate = model.get_submodule("audio_gate.gate")
    torch.testing.assert_close(maps["audio_gate"], (gate.get_submodule("linear")(x[0]) / 0.1).softmax(dim=-1))


@torch.no_grad()
def test_every_level_of_a_hierarchy_has_its_gates() -> None:
    maps = build("grjca", hierarchical=True, iterations=3)(*inputs()).maps
    sizes = {name: values.shape[-1] for name, values in maps.items() if name.startswith("visual_gate")}
    assert sizes == {"visual_gate_1": 2, "visual_gate_2": 3, "visual_gate_3": 4, "visual_gate": 3}
    for name in sizes:
        torch.testing.assert_close(maps[name].sum(dim=-1), torch.ones(2, 5))


@torch.no_grad()
def test_the_mean_score_keeps_weights_close_to_even_and_a_linear_one_does_not() -> None:
    spread = {}
    for score in ("mean", "linear"):
        torch.manual_seed(1)
        gate = TimeAwareGate(128, 0.1, score, 0.0)  # type: ignore[arg-type]
        for parameter in gate.parameters():
            parameter.mul_(30)
        weights = gate(5 * seeded_normal((8, 4, 3, 128), 4))[1]["gate"]
        spread[score] = float((weights.amax(dim=-1) / weights.amin(dim=-1)).max())
    assert 1 < spread["mean"] <= math.exp(2 / (0.1 * math.sqrt(256))) < 3.5 < spread["linear"]
