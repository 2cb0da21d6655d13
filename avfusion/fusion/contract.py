"""What every fusion model promises, as checks that are run on any: registered models, and those from outside."""

import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from avfusion.fusion.base import FusionModel, FusionOutput
from avfusion.fusion.catalogue import find_fusion, fixed_sizes, fusion_options
from avfusion.fusion.files import load_fusion, save_fusion
from avfusion.fusion.neutral import gate_means
from avfusion.fusion.registry import build_fusion
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.runtime.registered import fault_of

BATCH, LENGTH, AUDIO_DIM, VISUAL_DIM = 4, 16, 24, 40
STREAMS = ("audio", "visual")


@dataclass(frozen=True)
class Finding:
    """What a check found."""

    check: str
    fault: str | None
    seconds: float


@dataclass(frozen=True)
class Case:
    """A fusion model to be checked, with the inputs that it is checked with.

    Attributes:
        sizes: audio_dim, visual_dim and length; default: small ones where the model takes any.
        options: of the model.
        map_shape: rows and columns of visual maps; default: visual features are flat.
    """

    name: str
    sizes: Mapping[str, int] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    map_shape: tuple[int, ...] = ()

    def build(self, **options: Any) -> FusionModel:
        """The model in eval mode."""
        torch.manual_seed(1)
        small = {"audio_dim": AUDIO_DIM, "visual_dim": VISUAL_DIM, "length": LENGTH}
        built = build_fusion(
            self.name, **(small | _dimensions(self.name) | dict(self.sizes)), **(dict(self.options) | options)
        )
        with torch.no_grad():
            for parameter in built.parameters():  # learnt tokens start at zero, which would hide their effect
                parameter.add_(0.05 * torch.randn_like(parameter))
        return built.eval()

    @cached_property
    def model(self) -> FusionModel:
        """With its default options."""
        return self.build()

    @cached_property
    def batch(self) -> dict[str, torch.Tensor]:
        """Four sequences, of which two end in padded clips; in all of them some clips lack a stream."""
        model, generator = self.model, torch.Generator().manual_seed(2)
        shape = BATCH, model.length
        padding = torch.zeros(shape, dtype=torch.bool)
        padding[1, model.length * 5 // 8 :] = True
        padding[3, 1:] = True
        visual = (model.visual_dim, *self.map_shape) if self.map_shape else (model.visual_width,)
        return {
            "audio": torch.randn(*shape, model.audio_dim, generator=generator),
            "visual": torch.randn(*shape, *visual, generator=generator),
            "audio_present": torch.rand(shape, generator=generator) < 0.7,
            "visual_present": torch.rand(shape, generator=generator) < 0.7,
            "padding": padding,
        }

    @property
    def used(self) -> torch.Tensor:
        """Clips that are not padded, (B, L)."""
        return ~self.batch["padding"]

    @cached_property
    def predictions(self) -> torch.Tensor:
        """Of the batch."""
        return self.predict(self.batch)

    @torch.no_grad()
    def predict(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Predictions (B, L, 2)."""
        return self.model(**batch).predictions


def check_shapes(case: Case) -> str | None:
    """`forward` returns a `FusionOutput` with predictions (B, L, 2) in float32, all finite."""
    output = case.model(case.batch["audio"], case.batch["visual"])
    if not isinstance(output, FusionOutput):
        return f"forward returns {type(output).__name__}, must return a FusionOutput"
    plain = output.predictions
    wanted = (BATCH, case.model.length, 2)
    if plain.shape != wanted or plain.dtype != torch.float32:
        return f"predictions are {tuple(plain.shape)} in {plain.dtype}, must be {wanted} in torch.float32"
    return None if plain.isfinite().all() else "predictions are not finite"


def check_masks(case: Case) -> str | None:
    """Without masks all clips count as present, and none as padded."""
    everywhere = torch.ones(BATCH, case.model.length, dtype=torch.bool)
    whole = {"audio": case.batch["audio"], "visual": case.batch["visual"]}
    masks = {"audio_present": everywhere, "visual_present": everywhere, "padding": ~everywhere}
    same = torch.equal(case.predict(whole), case.predict({**whole, **masks}))
    return None if same else "predictions differ between no masks and masks by which all clips are present"


def check_absent_clips(case: Case) -> str | None:
    """What stands in the place of an absent clip, NaN included, has no influence."""
    for stream in STREAMS:
        absent = ~case.batch[f"{stream}_present"]
        for junk in (1e4, float("nan")):
            changed = {**case.batch, stream: _put(junk, absent, case.batch[stream])}
            if not torch.equal(case.predict(changed)[case.used], case.predictions[case.used]):
                return f"features of absent {stream} clips change predictions"
    nothing = torch.zeros_like(case.batch["padding"])
    empty = {**case.batch, "audio_present": nothing, "visual_present": nothing}
    return None if case.predict(empty).isfinite().all() else "predictions of absent streams are not finite"


def check_padded_clips(case: Case) -> str | None:
    """Padded clips have no influence on the others."""
    padding = case.batch["padding"]
    junk = {stream: _put(1e4, padding, case.batch[stream]) for stream in STREAMS}
    presence = {key: case.batch[key] ^ padding for key in ("audio_present", "visual_present")}
    if not torch.equal(case.predict({**case.batch, **junk, **presence})[case.used], case.predictions[case.used]):
        return "padded clips change the predictions of others"
    whole = padding.clone()
    whole[0] = True
    after = case.predict({**case.batch, "padding": whole})
    if not after.isfinite().all():
        return "predictions of a sequence that is all padding are not finite"
    others = case.used[1:]
    near = torch.allclose(after[1:][others], case.predictions[1:][others], atol=1e-5, rtol=1.3e-6)
    return None if near else "a sequence that is all padding changes the predictions of others"


def check_batch(case: Case) -> str | None:
    """A sequence's predictions do not depend on the sequences around it."""
    order = torch.tensor([2, 0, 3, 1])
    shuffled = case.predict({key: value[order] for key, value in case.batch.items()})
    if not torch.allclose(shuffled, case.predictions[order], atol=1e-5, rtol=1e-4):
        return "predictions depend on the order of the batch"
    for row in range(BATCH):
        alone = case.predict({key: value[row : row + 1] for key, value in case.batch.items()})
        if not torch.allclose(alone[0], case.predictions[row], atol=1e-5, rtol=1e-4):
            return "predictions depend on the other sequences of the batch"
    return None


def check_gradients(case: Case) -> str | None:
    """The gradient reaches every parameter, and both streams (or those that the class declares in `streams`)."""
    model = case.build()
    inputs = {stream: case.batch[stream].clone().requires_grad_() for stream in STREAMS}
    model(**{**case.batch, **inputs}).predictions[case.used].square().sum().backward()
    dead = [name for name, value in model.named_parameters() if value.grad is None or not value.grad.abs().sum() > 0]
    if dead:
        return f"no gradient reaches {', '.join(dead)}"
    for stream, features in inputs.items():
        reached = features.grad is not None and bool(features.grad.abs().sum() > 0)
        if reached != (stream in model.streams):
            declared = f"the class declares streams = {model.streams}"
            return f"{'a' if reached else 'no'} gradient reaches the {stream} features, but {declared}"
    return None


def check_neutral(case: Case) -> str | None:
    """With neutral attention predictions are others, finite, and free of padding; after it they are the same bits."""
    model = case.model
    if not model.neutral_form:
        return None
    junk = {**case.batch, **{stream: _put(1e4, case.batch["padding"], case.batch[stream]) for stream in STREAMS}}
    with torch.no_grad(), gate_means(model, model.gate_maps) as means:
        model(*case.batch.values())
    with model.neutralised(means):
        found, padded = case.predict(case.batch), case.predict(junk)
    if not found[case.used].isfinite().all():
        return "with neutral attention predictions are not finite"
    if torch.equal(found[case.used], case.predictions[case.used]):
        return f"the class declares neutral_form = {model.neutral_form!r}, but `neutralised` changes no prediction"
    if not torch.equal(found[case.used], padded[case.used]):
        return "with neutral attention padded clips change the predictions of others"
    same = torch.equal(case.predict(case.batch), case.predictions)
    return None if same else "after `neutralised` predictions are not what they were"


def check_evaluation(case: Case) -> str | None:
    """In eval mode the same inputs give the same bits."""
    return None if torch.equal(case.predict(case.batch), case.predictions) else "two evaluations differ"


def check_files(case: Case) -> str | None:
    """Saved and loaded, the model gives the same bits."""
    with tempfile.TemporaryDirectory() as folder:
        save_fusion(Path(folder), case.model, {})
        again, _ = load_fusion(Path(folder))
    with torch.no_grad():
        same = torch.equal(again(**case.batch).predictions, case.predictions)
    return None if same else "the loaded model gives other predictions than the saved one"


def check_options(case: Case) -> str | None:
    """At each bound of each option the model runs, or says in a `BadInputError` why it cannot."""
    for name, option in fusion_options(case.name).items():
        for value in option.ends:
            try:
                model = case.build(**{name: value})
            except BadInputError:  # bounds that depend on other options
                continue
            with torch.no_grad():
                if not model(**case.batch).predictions.isfinite().all():
                    return f"with {name} {value!r} predictions are not finite"
    return None


def check_precision(case: Case) -> str | None:
    """Mixed precision is finite and near."""
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype=dtype):
            half = case.predict(case.batch)
        if not half.isfinite().all() or (half.float() - case.predictions).abs().max() >= 0.1:
            return f"in {dtype} predictions are not finite, or more than 0.1 away"
    return None


def check_export(case: Case) -> str | None:
    """torch.export keeps the numbers for any batch size."""
    inputs, size = tuple(case.batch.values()), torch.export.Dim("batch", min=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.export.export(case.model, inputs, dynamic_shapes=tuple({0: size} for _ in inputs)).module()
    for rows in (slice(0, 1), slice(1, 4)):
        with torch.no_grad():
            found = exported(*(value[rows] for value in inputs))
        if not torch.allclose(found.predictions, case.predictions[rows], atol=1e-5, rtol=1e-4):
            return "the exported model gives other predictions"
    return None


CHECKS: Mapping[str, Callable[[Case], str | None]] = {
    "shapes": check_shapes,
    "evaluation": check_evaluation,
    "masks": check_masks,
    "absent clips": check_absent_clips,
    "padded clips": check_padded_clips,
    "batch": check_batch,
    "gradients": check_gradients,
    "neutral attention": check_neutral,
    "save and load": check_files,
    "options": check_options,
    "mixed precision": check_precision,
    "export": check_export,
}
FORWARD = ("shapes", "masks", "absent clips", "padded clips")
"""Checks of the contract of `forward`: a model that fails one cannot be used."""


def check_fusion(name: str) -> Iterator[Finding]:
    """Run all checks on a fusion model; where its shapes are wrong, nothing else.

    Raises:
        BadInputError: there is no such model, or it cannot be built.
    """
    case = Case(name)
    _prepare(case)
    for check, run in CHECKS.items():
        outcome = timed(check, run, case)
        yield outcome
        if check == "shapes" and outcome.fault:
            return


def refuse_outside(
    name: str, sizes: Mapping[str, int], options: Mapping[str, Any], map_shape: tuple[int, ...] = ()
) -> None:
    """Refuse a fusion model from outside this package whose `forward` breaks the contract; takes well under a second.

    Raises:
        BadInputError: the model cannot be built, or fails a check of `FORWARD`.
    """
    if not find_fusion(name).is_outside:
        return
    with torch.random.fork_rng(devices=[]):
        case = Case(name, sizes, options, map_shape)
        _prepare(case)
        for check in FORWARD:
            if fault := timed(check, CHECKS[check], case).fault:
                raise BadInputError(f"fusion model {name!r}: {fault} (`avfusion check-model {name}` tells more)")


def _prepare(case: Case) -> None:
    """Build model and inputs; whatever a stranger's model raises is a `BadInputError`."""
    try:
        _ = case.batch
    except AVFusionError:
        raise
    except (Exception, SystemExit) as error:
        raise BadInputError(f"fusion model {case.name!r} cannot be built: {fault_of(error)}") from None


def _put(value: float, where: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """Features (B, L, …) with `value` at the clips of a mask (B, L)."""
    return torch.where(where.reshape(*where.shape, *(1,) * (features.ndim - 2)), value, features)


def timed(check: str, run: Callable[[Case], str | None], case: Case) -> Finding:
    """Run one check; an exception of the model is its fault."""
    started = time.perf_counter()
    try:
        fault = run(case)
    except AVFusionError as error:
        fault = str(error)
    except (Exception, SystemExit) as error:  # whatever a stranger's model raises
        fault = fault_of(error)
    return Finding(check, fault, time.perf_counter() - started)


def _dimensions(name: str) -> dict[str, int]:
    return {size: value for size, value in fixed_sizes(name).items() if size != "map_side"}
