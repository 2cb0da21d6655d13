"""Averages of the weights and smoothed scores: what is validated and kept, and what stays as it is without them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from torch import nn

from avfusion.experiments.sweep.objective import Objective
from avfusion.experiments.sweep.space import SearchSpace
from avfusion.experiments.training_store import FinishedTraining
from avfusion.fusion.inference import NotFiniteError
from avfusion.fusion.temporal import MaskedBatchNorm
from avfusion.fusion.track_inference import predict_track
from avfusion.runtime.errors import AVFusionError
from avfusion.scoring.ccc import ccc
from avfusion.training import loop
from avfusion.training.averaging import weight_average
from avfusion.training.checkpoints import CHECKPOINT
from avfusion.training.loop import HISTORY_COLUMNS, OPTIONAL_COLUMNS, FusionTraining
from tests.training.test_loop import Recorder

Make = Callable[..., FusionTraining]
BOTH = {"score_smoothing": 0.8, "weight_averaging": 0.9}
TCN = {"options": {"encoder_width": 16, "head_hidden": 16}}


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, torch.Tensor]]:
    """The parameters after every step of the trainings to come."""
    seen: list[dict[str, torch.Tensor]] = []
    step = FusionTraining._step

    def spy(self: FusionTraining, state: Any, *arguments: Any) -> Any:
        output = step(self, state, *arguments)
        seen.append({name: value.detach().clone() for name, value in state.model.named_parameters()})
        return output

    monkeypatch.setattr(FusionTraining, "_step", spy)
    return seen


@pytest.mark.parametrize("schedule", ["plateau", "cosine"])
def test_the_weights_take_the_same_course_with_and_without(
    schedule: str, training: Make, steps: list[dict[str, torch.Tensor]]
) -> None:
    plain = training("temporal_concat", schedule=schedule, **TCN).fit()
    count = len(steps)
    averaged = training("temporal_concat", schedule=schedule, **TCN, **BOTH).fit()
    assert len(steps) == 2 * count
    for before, after in zip(steps[:count], steps[count:], strict=True):
        assert all(torch.equal(before[name], after[name]) for name in before)
    for one, other in zip(plain.history, averaged.history, strict=True):
        assert all(one[name] == other[name] for name in HISTORY_COLUMNS if not name.startswith("val"))
        assert all(one[f"val_ccc_{t}"] == other[f"raw_val_ccc_{t}"] for t in ("valence", "arousal", "mean"))
        assert one["val_ccc_mean"] != other["val_ccc_mean"]
    assert list(plain.history[0]) == list(HISTORY_COLUMNS)
    assert list(averaged.history[0]) == [*HISTORY_COLUMNS, *OPTIONAL_COLUMNS]


def test_validated_and_kept_is_the_moving_average_of_the_steps(
    training: Make, steps: list[dict[str, torch.Tensor]]
) -> None:
    work = training(weight_averaging=0.9, epochs=3)
    result = work.fit()
    kept = steps[: len(steps) // 3 * result.best_epoch]
    average = {name: value.double() for name, value in kept[0].items()}
    for step in kept[1:]:
        average = {name: 0.9 * value + 0.1 * step[name] for name, value in average.items()}
    for name, value in result.model.named_parameters():
        assert torch.allclose(value.double(), average[name], atol=1e-6), name
        assert not torch.equal(value, kept[-1][name])
    assert torch.equal(result.model.audio_mean, work.data.statistics()["audio_mean"])
    frames = [predict_track(result.model, t, work.geometry, work.stride, "overlap") for t in work.validation]
    labels, valid = (np.concatenate([getattr(t, name) for t in work.validation]) for name in ("labels", "valid"))
    by_hand = ccc(np.concatenate(frames)[valid, 1], labels[valid, 1])
    assert result.history[result.best_epoch - 1]["val_ccc_arousal"] == pytest.approx(by_hand, abs=1e-6)


def test_statistics_of_batch_normalisation_are_those_of_the_averaged_weights(training: Make) -> None:
    """Means over the training batches, of the inputs that each layer has in the averaged network."""
    still = {"encoder_width": 16, "head_hidden": 16, "temporal_dropout": 0.0}
    work = training("temporal_concat", weight_averaging=0.9, epochs=2, options=still)
    model = work.fit().model
    layers = {name: module for name, module in model.named_modules() if isinstance(module, MaskedBatchNorm)}
    assert len(layers) == 3
    kept = {name: layer.norm.running_mean.clone() for name, layer in layers.items()}
    inputs: dict[str, list[torch.Tensor]] = {name: [] for name in layers}
    for name, layer in layers.items():
        layer.norm.register_forward_pre_hook(lambda _, x, name=name: inputs[name].append(x[0].mean(0)))
    model.train()
    with torch.no_grad():
        for batch in work.data.batches(work.config.batch_size):
            model(batch.audio, batch.visual, batch.audio_present, batch.visual_present, batch.padding)
    for name, layer in layers.items():
        assert torch.allclose(kept[name], torch.stack(inputs[name]).mean(0), atol=1e-5), name
        assert layer.norm.momentum == nn.BatchNorm1d(1).momentum


@pytest.mark.parametrize("name", ["temporal_concat", "jca"])
def test_resumed_training_gives_the_same_bits(name: str, training: Make, tmp_path: Path) -> None:
    options = TCN["options"] if name == "temporal_concat" else {"k": 4}
    settings = {"epochs": 5, "modality_dropout": 0.3, "options": options, **BOTH}
    whole, logger = training(name, **settings).fit(), Recorder(stop_after=2)
    with pytest.raises(KeyboardInterrupt):
        training(name, folder=tmp_path, **settings).fit(logger)
    torch.manual_seed(99)
    logger.stop_after = None
    resumed = training(name, folder=tmp_path, **settings).fit(logger)
    assert resumed.history == whole.history
    assert resumed.best_epoch == whole.best_epoch
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[key]), key
    logged = [{key: value for key, value in row.items() if key != "epoch"} for row in whole.history]
    assert logger.rows == logged, "both curves are logged"
    assert logger.steps == [1, 2, 3, 4, 5]


SCORES = (0.1, 0.6, 0.5, 0.5, 0.55, 0.3, 0.2, 0.1, 0.9)


@pytest.fixture
def scored(training: Make, monkeypatch: pytest.MonkeyPatch) -> FusionTraining:
    """A training whose epochs have the validation scores `SCORES`."""
    to_come: Iterator[float] = iter(SCORES)

    def validate(self: FusionTraining, state: object) -> dict[str, float]:
        return dict.fromkeys(("val_ccc_valence", "val_ccc_arousal", "val_ccc_mean"), next(to_come))

    monkeypatch.setattr(FusionTraining, "_validate", validate)
    return training(epochs=9, patience=3, score_smoothing=0.5, model="concat")


def test_smoothing_decides_the_best_epoch_and_the_end(scored: FusionTraining) -> None:
    result = scored.fit()
    means = [np.average(SCORES[: n + 1], weights=0.5 ** np.arange(n, -1, -1)) for n in range(8)]
    assert [row["val_ccc_smoothed"] for row in result.history] == pytest.approx(means)
    assert result.best_epoch == 5 == 1 + int(np.argmax(means))
    assert len(result.history) == 8, "three epochs after the best"


def test_a_trial_has_the_score_of_the_epoch_that_is_kept(scored: FusionTraining) -> None:
    space = SearchSpace.of({}, scored.config)
    objective = Objective(space, lambda _: scored.data, scored.validation, scored.geometry, scored.stride)
    trial = optuna.trial.FixedTrial({})
    assert objective(trial) == SCORES[4] < max(SCORES[:8])  # type: ignore[arg-type]
    assert trial.user_attrs["best_epoch"] == 5


def test_a_prediction_that_is_not_finite_names_epoch_and_track(
    training: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def breaking(*arguments: Any) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls == 5:  # two tracks an epoch for either weights: the first of epoch 2
            raise NotFiniteError
        return predict_track(*arguments)

    monkeypatch.setattr(loop, "predict_track", breaking)
    with pytest.raises(AVFusionError, match=r"concat: a prediction is not finite at epoch 2, validation .*val-0"):
        training(folder=tmp_path, weight_averaging=0.9).fit()
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["epoch"] == 1


@pytest.mark.parametrize("amp", ["float16", "bfloat16"])
def test_averages_of_mixed_precision_are_float32(amp: str, training: Make) -> None:
    result = training("temporal_concat", epochs=8, amp=amp, weight_averaging=0.5, dropout=0.0, **TCN).fit()
    assert {value.dtype for value in result.model.parameters()} == {torch.float32}
    assert result.history[result.best_epoch - 1]["val_ccc_mean"] > 0.5


def test_a_step_that_overflows_adds_nothing(training: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    norms = iter([torch.tensor(1.0), torch.tensor(torch.inf)])
    work = training(epochs=1, amp="float16", batch_size=1000, weight_averaging=0.9)
    state = work._setup(precision := loop.resolve_precision("float16", "cpu"))
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *_: next(norms))
    for _ in range(2):
        work._train_epoch(state, precision)
    assert int(state.averaged.n_averaged) == 1  # type: ignore[union-attr]


def test_the_average_begins_with_the_first_step() -> None:
    model = nn.Linear(1, 1, bias=False)
    average = weight_average(model, 0.9)  # type: ignore[arg-type]
    for value in (5.0, 1.0):
        model.weight.data.fill_(value)
        average.update_parameters(model)
    assert average.module.weight.item() == pytest.approx(0.9 * 5 + 0.1 * 1)


def test_the_record_keeps_both_curves(training: Make, tmp_path: Path) -> None:
    history = training(epochs=1, **BOTH).fit().history
    record = json.loads(json.dumps({"history": history}))
    assert FinishedTraining(tmp_path, record).history == history
