"""What every fusion model of the registry promises."""

import re
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from avfusion.fusion import FusionModel, build_fusion, fusion_names
from avfusion.fusion.base import RegressionHeads, StreamEncoder
from avfusion.fusion.catalogue import fusion_options, head_kind
from avfusion.fusion.contract import CHECKS, Case
from avfusion.fusion.late import Late
from avfusion.fusion.registry import fusion_class
from avfusion.runtime.errors import BadInputError
from avfusion.training.losses import ccc_loss
from avfusion.training.sequences import Batch, drop_streams
from tests.fusion.forms import EVERY, FORMS

B, L, D_A, D_V = 4, 16, 24, 40
FIXED = "released_coattention"  # of the published size; takes maps, and normalises features by itself


@pytest.fixture(params=fusion_names())
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
        pytest.skip("L2-normalises, takes maps as they are, and has no tokens for what is missing")
    return model


# Baselines of nobody's have no paper.
SOURCES = {
    "concat": "2002.03399",
    "self_attention": "1706.03762",
    "cross_attention": "2111.05222",
    "jca": "2209.09068",
    "recursive_jca": "2304.07958",
    "dynamic": "2403.19554",
    "modality_gate": "2002.02957",
    "leader_follower": "2107.01175",
    "temporal_concat": "1803.01271",
    "grjca": "2503.12261",
    "tagf": "2507.02080",
    "raav": "2603.13056",
    "released_coattention": "2209.09068",
}


def encoders(model: FusionModel) -> dict[str, StreamEncoder]:
    found = {name: module for name, module in model.named_modules() if isinstance(module, StreamEncoder)}
    return {
        stream: encoder
        for stream in model.streams
        for name, encoder in found.items()
        if name in (f"{stream}_encoder", "encoder")
    }


@pytest.fixture(scope="module")
def cases() -> dict[str, Case]:
    return {}


# The steps of recurrent layers are exported one by one, which takes seconds: a form more is for `make test-slow`.
@pytest.mark.parametrize(
    ("form", "check"),
    [
        pytest.param(form, check, marks=[pytest.mark.slow] if form in FORMS and check == "export" else [])
        for form in EVERY
        for check in CHECKS
    ],
)
def test_every_model_keeps_the_contract(cases: dict[str, Case], form: str, check: str) -> None:
    name, options = EVERY[form]
    case = cases.setdefault(form, Case(name, options=options))
    assert CHECKS[check](case) is None


@pytest.mark.parametrize("name", fusion_names())
def test_the_head_is_what_tables_call_it(name: str) -> None:
    kinds = [head_kind(name, {})]
    if "head" in fusion_options(name):
        kinds += fusion_options(name)["head"].values
        assert {"linear", "relu"} <= set(kinds)
    for kind in kinds:
        built = build_fusion(name, **({} if name == FIXED else {"audio_dim": D_A, "visual_dim": D_V, "head": kind}))
        assert head_kind(name, built.options) == kind
        heads = [module for module in built.modules() if isinstance(module, RegressionHeads)]
        assert bool(heads) == (kind in ("linear", "relu"))
        for head in heads:
            assert any(isinstance(layer, nn.ReLU) for layer in head.valence) == (kind == "relu")


def test_the_head_of_the_authors_networks_has_a_relu() -> None:
    for name in ("dynamic", "recursive_jca"):
        built = build_fusion(name, audio_dim=D_A, visual_dim=D_V, faithful=True)
        (head,) = (module for module in built.modules() if isinstance(module, RegressionHeads))
        assert any(isinstance(layer, nn.ReLU) for layer in head.valence)
        assert head_kind(name, built.options) == "relu"


def test_the_file_names_its_paper() -> None:
    assert SOURCES.keys() == set(fusion_names()) - {"audio_only", "visual_only", "late"}
    for name, source in SOURCES.items():
        assert f"arXiv {source}" in str(sys.modules[fusion_class(name).__module__].__doc__), name


@pytest.fixture
def with_tokens(flexible: FusionModel) -> FusionModel:
    """A model that predicts from the token of an absent stream; `late` does so where it does not renormalise."""
    if isinstance(flexible, Late):
        flexible.renormalise = False
    return flexible


def test_an_absent_clip_is_its_streams_token_and_no_more(
    with_tokens: FusionModel, batch: dict[str, torch.Tensor]
) -> None:
    stand_ins = {"audio": torch.randn(D_A), "visual": torch.randn(D_V)}
    seen = dict(batch)
    for stream, encoder in encoders(with_tokens).items():
        with torch.no_grad():
            encoder.missing.copy_(encoder.linear(stand_ins[stream]))
        present = batch[f"{stream}_present"]
        seen[stream] = torch.where(present[..., None], batch[stream], stand_ins[stream])
        seen[f"{stream}_present"] = torch.ones_like(present)
    absent, stood_in = with_tokens(**batch).predictions, with_tokens(**seen).predictions
    torch.testing.assert_close(absent[~batch["padding"]], stood_in[~batch["padding"]], atol=1e-5, rtol=1e-5)


def test_a_padded_clip_is_no_absent_clip(flexible: FusionModel, batch: dict[str, torch.Tensor]) -> None:
    everywhere = torch.ones(B, L, dtype=torch.bool)
    batch = batch | {"audio_present": everywhere, "visual_present": everywhere}
    before = flexible(**batch).predictions
    with torch.no_grad():
        for encoder in encoders(flexible).values():
            encoder.missing.add_(5)
    assert torch.equal(flexible(**batch).predictions[~batch["padding"]], before[~batch["padding"]])


def test_modality_dropout_trains_the_tokens(with_tokens: FusionModel, batch: dict[str, torch.Tensor]) -> None:
    everywhere = torch.ones(B, L, dtype=torch.bool)
    targets = torch.rand(B, L, 2, generator=torch.Generator().manual_seed(3))
    whole = Batch(batch["audio"], batch["visual"], everywhere, everywhere, ~everywhere, targets, everywhere)
    for share, reached in ((0.0, False), (1.0, True)):
        lost = drop_streams(whole, share, torch.Generator().manual_seed(1))
        assert lost.audio_present.all() != reached
        assert lost.visual_present.all() != reached
        with_tokens.zero_grad()
        out = with_tokens(lost.audio, lost.visual, lost.audio_present, lost.visual_present, lost.padding)
        ccc_loss(out.predictions, lost.targets, lost.valid).backward()
        for stream, encoder in encoders(with_tokens).items():
            gradient = encoder.missing.grad
            assert (gradient is not None and bool(gradient.abs().sum() > 0)) == reached, stream


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


def test_float64_agrees_and_half_precision_is_finite(model: FusionModel, batch: dict[str, torch.Tensor]) -> None:
    single = model(**batch).predictions
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype=dtype):
            half = model(**batch).predictions
        assert half.isfinite().all()
        assert (half.float() - single).abs().max() < 0.1
    doubled = {key: value.double() if value.is_floating_point() else value for key, value in batch.items()}
    assert (model.double()(**doubled).predictions - single).abs().max() < 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_training_step_in_half_precision_has_finite_gradients(
    model: FusionModel, batch: dict[str, torch.Tensor], dtype: torch.dtype
) -> None:
    model.train()
    with torch.autocast("cpu", dtype=dtype):
        predictions = model(**batch).predictions
    ccc_loss(predictions, torch.rand(B, L, 2), ~batch["padding"]).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.filterwarnings("ignore:The tensor attributes .* were assigned during export")
def test_export_keeps_the_numbers_for_any_batch_size(model: FusionModel, batch: dict[str, torch.Tensor]) -> None:
    inputs = tuple(batch.values())
    size = torch.export.Dim("batch", min=1)
    exported = torch.export.export(model, inputs, dynamic_shapes=tuple({0: size} for _ in inputs)).module()
    for rows in (slice(0, 1), slice(1, 4)):
        some = [value[rows] for value in inputs]
        expected, found = model(*some), exported(*some)
        torch.testing.assert_close(found.predictions, expected.predictions)
        assert found.maps.keys() == expected.maps.keys()


def test_an_attention_map_or_gate_has_a_row_per_sequence(model: FusionModel, batch: dict[str, torch.Tensor]) -> None:
    maps = model(**batch).maps
    assert bool(maps) == (model.name not in ("audio_only", "visual_only", "concat", "temporal_concat"))
    for name, values in maps.items():
        assert len(values) == B, name
        assert values.isfinite().all(), name


def test_wrong_width_is_named(model: FusionModel, batch: dict[str, torch.Tensor]) -> None:
    d_a = model.audio_dim
    message = rf"audio features have shape \(4, 16, {d_a - 1}\), {model.name} takes \(B, 16, {d_a}\)"
    with pytest.raises(ValueError, match=message):
        model(batch["audio"][..., :-1], batch["visual"])


def test_unknown_names_are_answered_with_what_there_is() -> None:
    with pytest.raises(
        BadInputError, match=r"'nonsense': must be one of concat, cross_attention, .*, or package\.module:Class"
    ):
        build_fusion("nonsense")
    with pytest.raises(BadInputError, match=r"concat has no option k: its options are encoder_width, dropout"):
        build_fusion("concat", k=3)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("jca", {"k": 0}, "jca: k is 0: must be a whole number from 1"),
        ("jca", {"encoder_width": "wide"}, "jca: encoder_width is 'wide': must be a whole number from 1"),
        ("jca", {"correlation_scale": "sqrt"}, "correlation_scale is 'sqrt': must be one of width, length, learnt"),
        ("jca", {"correlation_norm": 1}, "jca: correlation_norm is 1: must be true or false"),
        ("jca", {"correlation_std": 1.0}, "jca: correlation_std is 1.0: must be a number from 0 to 0.9"),
        ("jca", {"correlation_dropout": 1}, "jca: correlation_dropout is 1: must be a number from 0 to below 1"),
        ("concat", {"dropout": 1}, "concat: dropout is 1: must be a number from 0 to below 1"),
        ("recursive_jca", {"shared": 1}, "recursive_jca: shared is 1: must be true or false"),
        ("recursive_jca", {"encoder_width": 5}, "recursive_jca: encoder_width is 5: must be an even number"),
        ("dynamic", {"temperature": 0}, "dynamic: temperature is 0: must be a number above 0"),
        ("self_attention", {"heads": 3}, "self_attention: heads is 3: must be a divisor of encoder_width (128)"),
    ],
)
def test_a_value_that_cannot_be_is_named(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(BadInputError, match=re.escape(message)):
        build_fusion(name, **options)


def test_one_stream_models_ignore_the_other() -> None:
    batch = make_batch(D_A, D_V)
    for name, other in (("audio_only", "visual"), ("visual_only", "audio")):
        model = build_fusion(name, audio_dim=D_A, visual_dim=D_V, length=L).eval()
        changed = batch | {other: batch[other] + 1}
        assert torch.equal(model(**changed).predictions, model(**batch).predictions)
