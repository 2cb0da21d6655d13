"""Neutral attention, gates at their mean, controls."""

import pytest
import torch

from avfusion.fusion import build_fusion, fusion_names
from avfusion.fusion.catalogue import control_of, find_fusion, fusion_options, has_attention, takes_maps
from avfusion.fusion.neutral import gate_means

SIZES = {"audio_dim": 5, "visual_dim": 7, "length": 6, "encoder_width": 8}
WITH_OPTION = [name for name in fusion_names() if (o := fusion_options(name).get("attention")) and o.kind is bool]
GATED = [name for name in fusion_names() if find_fusion(name).facts["gate_maps"]]


def batch() -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    audio, visual = torch.randn(3, 6, 5, generator=generator), torch.randn(3, 6, 7, generator=generator)
    present = torch.rand(2, 3, 6, generator=generator) < 0.8
    padding = torch.zeros(3, 6, dtype=torch.bool)
    padding[1, 4:] = True
    return audio, visual, *present, padding


def mixed(name: str, gates: torch.Tensor) -> torch.Tensor:
    """The gates; those of `raav` give no weight to absent sound and none to padding."""
    if name != "raav":
        return gates
    heard, used = batch()[2], ~batch()[4]
    gates = gates * torch.stack([heard & used, used], dim=-1)
    return gates / gates.sum(dim=-1, keepdim=True).clamp_min(1e-9)


FORMS = [
    *((name, {}) for name in WITH_OPTION),
    *((name, {"faithful": True}) for name in ("dynamic", "modality_gate", "recursive_jca")),
    ("jca", {"correlation_scale": "length", "correlation_norm": True, "correlation_std": 0.5}),
    ("jca", {"correlation_scale": "learnt", "correlation_dropout": 0.5}),
    *(("leader_follower", {"form": form}) for form in ("paper", "abaw2", "abaw3")),
]


@pytest.mark.parametrize(("name", "options"), FORMS)
@torch.no_grad()
def test_the_control_is_the_model_with_neutral_attention(name: str, options: dict[str, object]) -> None:
    networks = []
    for attention in (True, False):
        torch.manual_seed(0)
        networks.append(build_fusion(name, **SIZES, **options, attention=attention).eval())  # the same weights
    model, control = networks
    with model.neutralised():
        neutral = model(*batch())
    assert torch.equal(control(*batch()).predictions, neutral.predictions)
    assert not torch.equal(model(*batch()).predictions, neutral.predictions)
    for title, values in neutral.maps.items():
        if title in model.gate_maps or values.shape[-2:] == (2, 2):
            assert torch.equal(values, mixed(name, torch.full_like(values, 0.5))), title
        elif "correlation" in title or "similarity" in title:
            assert not values.any(), title
    if not find_fusion(name).facts.get("control_model") or options:
        assert control_of(name, options) == (name, {**options, "attention": False})
    assert control_of(name, {"attention": False}) is None


@pytest.mark.parametrize("name", ["cross_attention", "self_attention"])
@torch.no_grad()
def test_neutral_weights_are_even_over_the_clips_that_are_there(name: str) -> None:
    model = build_fusion(name, **SIZES).eval()
    with model.neutralised():
        maps = model(*batch()).maps
    used = ~batch()[4]
    for weights in maps.values():
        valid = used if weights.shape[-1] == 6 else torch.cat([used, used], dim=1)
        wanted = (valid / valid.sum(dim=1, keepdim=True)).reshape(3, *(1,) * (weights.ndim - 2), -1)
        torch.testing.assert_close(weights, wanted.expand_as(weights))


@torch.no_grad()
def test_neutral_latents_hear_the_mean_of_all_sound_and_frames_look_at_their_mean() -> None:
    model, inputs = build_fusion("raav", **SIZES).eval(), batch()
    with model.neutralised():
        maps = model(*inputs).maps
    heard = inputs[2] & ~inputs[4]
    wanted = (heard / heard.sum(dim=1, keepdim=True))[:, None]
    torch.testing.assert_close(maps["latent_attention"], wanted.expand(-1, 4, -1))
    torch.testing.assert_close(maps["frame_attention"], torch.full((3, 6, 4), 0.25))
    latents = model.audio_latents
    values = torch.randn(2, 5, 8)
    alike = values.mean(dim=1, keepdim=True).expand(-1, 5, -1)  # of equal rows any weights give the mean
    attended, _ = latents.look(torch.randn(2, 3, 8), alike, alike)
    with model.neutralised():
        torch.testing.assert_close(latents._attend(latents.look, torch.randn(2, 3, 8), values)[0], attended)


@pytest.mark.parametrize("name", GATED)
@torch.no_grad()
def test_gates_are_held_at_their_mean_over_clips_that_are_there(name: str) -> None:
    model, inputs = build_fusion(name, **SIZES).eval(), batch()
    with gate_means(model, model.gate_maps) as means:
        maps = model(*inputs).maps
        again = model(*(value[:1] for value in inputs)).maps
    model(*inputs)  # is not watched any more
    used = ~inputs[4]
    with model.neutralised(means):
        held = model(*inputs).maps
    for title in model.gate_maps:
        mean = torch.cat([maps[title][used], again[title][used[:1]]]).mean(dim=0)
        torch.testing.assert_close(held[title], mixed(name, mean.expand_as(held[title])))


def test_an_error_inside_the_context_leaves_attention_on() -> None:
    model = build_fusion("jca", **SIZES).eval()
    with pytest.raises(ZeroDivisionError), model.neutralised():
        _ = 1 / 0
    assert model.audio_attention.neutral is model.neutral is None  # type: ignore[union-attr]


def test_controls_keep_the_options_that_both_models_have() -> None:
    options = {"encoder_width": 8, "head": "relu", "k": 4}
    assert control_of("recursive_jca", options) == (
        "temporal_concat",
        {"encoder_width": 8, "head": "relu", "head_hidden": 128, "temporal": "bilstm"},
    )
    assert control_of("recursive_jca", {"faithful": True}) == ("recursive_jca", {"faithful": True, "attention": False})
    assert control_of("grjca", {"temporal": "none", "iterations": 3}) == (
        "temporal_concat",
        {
            **{"blocks": 2, "encoder_width": 128, "head": "batchnorm", "head_hidden": 256, "kernel": 3},
            **{"temporal": "none", "temporal_dropout": 0.1},
        },
    )
    assert control_of("jca", {"k": 4}) == ("jca", {"k": 4, "attention": False})
    assert control_of("concat", {}) is None


def test_every_model_that_attends_has_a_control() -> None:
    attending = {name for name in fusion_names() if has_attention(name, {})}
    assert {"jca", "recursive_jca", "released_coattention"} <= attending
    assert not attending & {"concat", "temporal_concat", "late", "audio_only", "visual_only"}
    assert {name for name in attending if control_of(name, {}) is None} == {n for n in attending if takes_maps(n)}
