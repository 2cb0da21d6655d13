"""RAAV against the authors' code, tensor by tensor, and what it makes of sequences without sound or faces."""

import pytest
import torch
from torch import Tensor

from avfusion.fusion import build_fusion
from avfusion.fusion.raav import ReliabilityAwareFusion
from avfusion.runtime.errors import BadInputError
from tests.fusion.published_raav import PublishedRAAV
from tests.fusion.seeded_references import seeded_state


@pytest.mark.parametrize("name", ["raav", "raav_one"])
def test_every_tensor_agrees_with_the_authors_code(name: str) -> None:
    network = PublishedRAAV(name)
    expected = {key: value for key, value in network.given.items() if not key.startswith("in.")}
    found = network.results()
    assert found.keys() == expected.keys()
    for key, value in found.items():
        wanted = expected[key].mean(dim=1) if "map_" in key else expected[key]
        assert (value - wanted).abs().max() < 1e-5, key


def test_missing_and_unexpected_tensors_are_named() -> None:
    state = seeded_state("raav")
    state["norm_after_sound.bias"] = state.pop("norm_after_audio.bias")
    with pytest.raises(BadInputError, match=r"missing norm_after_audio\.bias; unexpected norm_after_sound\.bias$"):
        PublishedRAAV("raav", state)


def inputs(model: ReliabilityAwareFusion) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    audio, visual = (torch.randn(2, model.length, 6, generator=generator) for _ in range(2))
    here = torch.ones(2, model.length, dtype=torch.bool)
    return audio, visual, here, here


def build(**options: object) -> ReliabilityAwareFusion:
    torch.manual_seed(2)
    model = build_fusion("raav", audio_dim=6, visual_dim=6, length=5, encoder_width=8, **options).eval()
    assert isinstance(model, ReliabilityAwareFusion)
    return model


@torch.no_grad()
def test_a_sequence_without_sound_is_that_of_its_faces_alone() -> None:
    model = build(frames="visual", place=False)
    audio, visual, here, _ = inputs(model)
    found = model(audio, visual, here & torch.tensor([[True], [False]]), here)
    frames = model.visual_encoder(visual, here, here)[1:]
    for layer in model.layers:
        frames, _ = layer(frames, here[1:])
    torch.testing.assert_close(found.predictions[1:], model.head(frames))
    assert not found.maps["latent_attention"][1].any()
    assert found.maps["latent_attention"][0].sum(dim=-1) == pytest.approx(1)


@torch.no_grad()
def test_a_clip_with_sound_and_no_face_is_predicted_from_its_place_and_the_sound() -> None:
    model = build(frames="visual")
    audio, visual, here, _ = inputs(model)
    faceless = here.clone()
    faceless[:, 2] = False
    before = model(audio, visual, here, faceless).predictions
    assert torch.equal(before, model(audio, visual + 9 * ~faceless[..., None], here, faceless).predictions)
    assert (model(audio + 1, visual, here, faceless).predictions[:, 2] - before[:, 2]).abs().min() > 1e-4


@torch.no_grad()
def test_gates_of_both_streams_follow_presence_and_the_prior() -> None:
    model = build(frames="both", visual_prior=0.9)
    audio, visual, here, _ = inputs(model)
    audible, seen = here.clone(), here.clone()
    audible[:, 0], seen[:, 1] = False, False
    gates = model(audio, visual, audible, seen).maps["gates"]
    assert gates[:, 0].tolist() == [[0, 1]] * 2
    assert gates[:, 1, 0].min() > 0, "a missing face is its token"
    even = build(frames="both", visual_prior=0.5)
    even.load_state_dict(model.state_dict())
    odds = [(g[:, 1:, 1] / g[:, 1:, 0]) for g in (gates, even(audio, visual, audible, seen).maps["gates"])]
    torch.testing.assert_close(odds[0], 9 * odds[1])


@torch.no_grad()
def test_clips_are_told_apart_by_their_place_alone() -> None:
    audio, visual = torch.ones(1, 5, 6), torch.ones(1, 5, 6)
    for place, differ in ((True, True), (False, False)):
        predictions = build(frames="visual", place=place)(audio, visual).predictions[0]
        assert ((predictions - predictions[0]).abs().max() > 1e-4) == differ
