"""What every fusion model of the registry promises."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from avfusion.errors import BadInputError
from avfusion.fusion import FUSION_MODELS, FusionModel, build_fusion

B, L, D_A, D_V = 4, 16, 24, 40
FIXED = "released_coattention"  # of the published size; takes maps, and normalises features by itself


@pytest.fixture(params=FUSION_MODELS)
def model(request: pytest.FixtureRequest) -> FusionModel:
    torch.manual_seed(1)
    sizes = {} if request.param == FIXED else {"audio_dim": D_A, "visual_dim": D_V}
    built = build_fusion(request.param, length=L, **sizes)
    with torch.no_grad():
        for parameter in built.parameters():  # learnt tokens start at zero, which would hide their effect
            parameter.add_(0.05 * torch.randn_like(parameter))
    return built.eval()


def make_batch(audio_dim: int, visual_width: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    padding = torch.zeros(B, L, dtype=torch.bool)
    padding[1, 10:] = True
    padding[3, 1:] = True
    return {
        "audio": torch.randn(B, L, audio_dim, generator=generator),
        "visual": torch.randn(B, L, visual_width, generator=generator),
        "audio_present": torch.rand(B, L, generator=generator) < 0.7,
        "visual_present": torch.rand(B, L, generator=generator) < 0.7,
        "padding": padding,
    }


@pytest.fixture
def batch(model: FusionModel) -> dict[str, torch.Tensor]:
    return make_batch(model.audio_dim, model.visual_width)


@pytest.fixture
def flexible(model: FusionModel) -> FusionModel:
    if model.name == FIXED:
        pytest.skip("L2-normalises, and takes maps as they are")
    return model


def test_shape_and_defaults(model: FusionModel, batch: dict[str, torch.Tensor]) -> None:
    everywhere = torch.ones(B, L, dtype=torch.bool)
    out = model(batch["audio"], batch["visual"])
    assert out.predictions.shape == (B, L, 2)
    assert out.predictions.dtype == torch.float32
    same = model(batch["audio"], batch["visual"], everywhere, everywhere, ~everywhere)
    assert torch.equal(out.predictions, same.predictions)


def test_gradient_reaches_every_parameter(model: FusionModel, batch: dict[str, torch.Tensor]) -> None:
    model(**batch).predictions[~batch["padding"]].square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("stream", ["audio", "visual"])
def test_absent_clips_have_no_influence(model: FusionModel, batch: dict[str, torch.Tensor], stream: str) -> None:
    before = model(**batch).predictions
    absent = ~batch[f"{stream}_present"]
    for junk in (1e4, float("nan")):
        changed = batch | {stream: torch.where(absent[..., None], junk, batch[stream])}
        assert torch.equal(model(**changed).predictions[~batch["padding"]], before[~batch["padding"]])


def test_padded_clips_have_no_influence(model: FusionModel, batch: dict[str, torch.Tensor]) -> None:
    before = model(**batch).predictions
    where = batch["padding"][..., None]
    junk = {stream: torch.where(where, 1e4, batch[stream]) for stream in ("audio", "visual")}
    presence = {key: batch[key] ^ batch["padding"] for key in ("audio_present", "visual_present")}
    after = model(**(batch | junk | presence)).predictions
    assert torch.equal(after[~batch["padding"]], before[~batch["padding"]])


def test_nothing_present_is_finite(model: FusionModel, batch: dict[str, torch.Tensor]) -> None:
    nothing = torch.zeros(B, L, dtype=torch.bool)
    out = model(batch["audio"], batch["visual"], nothing, nothing, batch["padding"])
    assert out.predictions.isfinite().all()


def test_order_of_the_batch_does_not_matter(model: FusionModel, batch: dict[str, torch.Tensor]) -> None:
    order = torch.tensor([2, 0, 3, 1])
    shuffled = {key: value[order] for key, value in batch.items()}
    torch.testing.assert_close(model(**shuffled).predictions, model(**batch).predictions[order])


def test_save_and_load_is_identity(model: FusionModel, batch: dict[str, torch.Tensor], tmp_path: Path) -> None:
    d_a, d_v = model.audio_dim, model.visual_dim
    model.set_standardisation(torch.randn(d_a), torch.rand(d_a) + 0.5, torch.randn(d_v), torch.rand(d_v) + 0.5)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    again = build_fusion(**model.config()).eval()
    again.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert torch.equal(again(**batch).predictions, model(**batch).predictions)


def test_standardisation_equals_standardised_features(flexible: FusionModel, batch: dict[str, torch.Tensor]) -> None:
    mean_a, std_a, mean_v, std_v = torch.randn(D_A), torch.rand(D_A) + 0.5, torch.randn(D_V), torch.rand(D_V) + 0.5
    plain = flexible(**batch).predictions
    flexible.set_standardisation(mean_a, std_a, mean_v, std_v)
    raw = batch | {"audio": batch["audio"] * std_a + mean_a, "visual": batch["visual"] * std_v + mean_v}
    torch.testing.assert_close(flexible(**raw).predictions, plain, atol=1e-4, rtol=1e-4)


def test_a_constant_feature_stays_finite(model: FusionModel, batch: dict[str, torch.Tensor]) -> None:
    audio, visual = torch.zeros(model.audio_dim), torch.zeros(model.visual_dim)
    model.set_standardisation(audio, audio, visual, visual)
    assert model(**batch).predictions.isfinite().all()


def test_maps_are_averaged_over_space(flexible: FusionModel, batch: dict[str, torch.Tensor]) -> None:
    maps = torch.randn(B, L, D_V, 3, 3, generator=torch.Generator().manual_seed(5))
    pooled = flexible(batch["audio"], maps.mean(dim=(3, 4))).predictions
    assert torch.equal(flexible(batch["audio"], maps).predictions, pooled)


def test_float64_agrees_and_bfloat16_is_finite(model: FusionModel, batch: dict[str, torch.Tensor]) -> None:
    single = model(**batch).predictions
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model(**batch).predictions
    assert half.isfinite().all()
    assert (half.float() - single).abs().max() < 0.1
    doubled = {key: value.double() if value.is_floating_point() else value for key, value in batch.items()}
    assert (model.double()(**doubled).predictions - single).abs().max() < 1e-5


def test_wrong_width_is_named(model: FusionModel, batch: dict[str, torch.Tensor]) -> None:
    d_a = model.audio_dim
    message = rf"audio features have shape \(4, 16, {d_a - 1}\), {model.name} takes \(B, 16, {d_a}\)"
    with pytest.raises(ValueError, match=message):
        model(batch["audio"][..., :-1], batch["visual"])


def test_unknown_names_are_answered_with_what_there_is() -> None:
    with pytest.raises(BadInputError, match=r"'nonsense' is unknown: allowed are audio_only, visual_only, concat, jca"):
        build_fusion("nonsense")
    with pytest.raises(BadInputError, match=r"concat has no option k: its options are encoder_width, dropout"):
        build_fusion("concat", k=3)


def test_one_stream_models_ignore_the_other() -> None:
    batch = make_batch(D_A, D_V)
    for name, other in (("audio_only", "visual"), ("visual_only", "audio")):
        model = build_fusion(name, audio_dim=D_A, visual_dim=D_V, length=L).eval()
        changed = batch | {other: batch[other] + 1}
        assert torch.equal(model(**changed).predictions, model(**batch).predictions)
