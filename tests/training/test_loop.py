"""The training loop: it learns, it goes on where it stopped, and it stops where it must."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from avfusion.fusion.base import FusionModel
from avfusion.fusion.catalogue import fusion_names, takes_maps
from avfusion.fusion.registry import fusion_class
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.training import loop
from avfusion.training.checkpoints import CHECKPOINT
from avfusion.training.logger import NullLogger
from avfusion.training.loop import FusionTraining, _State
from avfusion.training.sequences import Batch, SequenceData
from tests.fusion.forms import EVERY

Make = Callable[..., FusionTraining]
# What a model can learn from audio that shows arousal and a face that shows valence.
LEARNABLE = {"audio_only": ("arousal",), "visual_only": ("valence",)}

# Clips are mixed by weights that start at random: both learn to tell them apart, cross_attention never quite.
EPOCHS, GENERALISES = {"cross_attention": 60, "raav": 60}, {"cross_attention": 0.8}

# The published network takes maps of one size alone.
OF_ANY_SIZE = [name for name in fusion_names() if not takes_maps(name)]


class Recorder(NullLogger):
    """Keeps what is logged, by step; stops training at a wanted epoch."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.steps: list[int] = []
        self.rows: list[dict[str, float]] = []
        self.tags: dict[str, str] = {}
        self.stop_after = stop_after

    def set_tags(self, tags: Mapping[str, str]) -> None:
        self.tags |= tags

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        assert step is not None
        if self.stop_after is not None and step > self.stop_after:
            raise KeyboardInterrupt
        self.steps.append(step)
        self.rows.append(dict(metrics))

    def last_step(self, metric: str) -> int | None:
        return max(self.steps, default=None)


@pytest.mark.parametrize("name", OF_ANY_SIZE)
def test_learns_a_planted_signal(name: str, training: Make) -> None:
    epochs = EPOCHS.get(name, 25)
    result = training(name, epochs=epochs, lr=5e-3, dropout=0.0, patience=epochs).fit()
    for target in LEARNABLE.get(name, ("valence", "arousal")):
        assert max(row[f"train_ccc_{target}"] for row in result.history) > 0.95
        assert max(row[f"val_ccc_{target}"] for row in result.history) > GENERALISES.get(name, 0.9)
    assert result.best_epoch == max(result.history, key=lambda row: row["val_ccc_mean"])["epoch"]


@pytest.mark.parametrize("form", EVERY)
def test_resumed_training_gives_the_same_bits(form: str, training_of_any: Make, tmp_path: Path) -> None:
    name, form_options = EVERY[form]
    options = {"epochs": 6, "modality_dropout": 0.3, "schedule": "cosine", "options": form_options}
    whole = training_of_any(name, **options).fit()
    broken, logger = tmp_path / "broken", Recorder(stop_after=2)
    with pytest.raises(KeyboardInterrupt):  # while epoch 3 is being logged: its checkpoint is already there
        training_of_any(name, folder=broken, **options).fit(logger)
    torch.manual_seed(99)
    logger.stop_after = None
    resumed = training_of_any(name, folder=broken, **options).fit(logger)
    assert resumed.history == whole.history
    assert resumed.best_epoch == whole.best_epoch
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[key]), key
    assert logger.steps == [1, 2, 3, 4, 5, 6]


def test_drawn_offsets_and_warmup_go_on_with_the_same_bits(training: Make, tmp_path: Path) -> None:
    options = {"epochs": 6, "sequence_offsets": "random", "warmup_epochs": 4}
    whole = training(**options).fit()
    for stop in (2, 4):
        broken = tmp_path / str(stop)
        with pytest.raises(KeyboardInterrupt):
            training(folder=broken, **options).fit(Recorder(stop_after=stop))
        torch.manual_seed(99)
        resumed = training(folder=broken, **options).fit()
        assert resumed.history == whole.history
        for key, value in whole.model.state_dict().items():
            assert torch.equal(value, resumed.model.state_dict()[key]), key
    assert [row["lr"] for row in whole.history] == pytest.approx([6e-4, 1.2e-3, 1.8e-3, 2.4e-3, 3e-3, 3e-3])


def test_offsets_are_drawn_for_each_epoch_and_only_where_asked_for(
    training: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[list[list[int]]] = []
    batch = SequenceData.batch

    def spy(self: SequenceData, rows: torch.Tensor) -> Batch:
        used[-1] += self.index[rows].tolist()
        return batch(self, rows)

    def follow(self: FusionTraining, state: _State) -> dict[str, float]:
        used.append([])
        return validate(self, state)

    validate = FusionTraining._validate
    monkeypatch.setattr(SequenceData, "batch", spy)
    monkeypatch.setattr(FusionTraining, "_validate", follow)
    for offsets, kinds in (("fixed", 1), ("random", 3)):
        used[:] = [[]]
        training(epochs=3, sequence_offsets=offsets).fit()
        epochs = [sorted(rows) for rows in used[:3]]
        assert len({str(rows) for rows in epochs}) == kinds
        for rows in epochs:
            assert sorted(clip for row in rows for clip in row if clip >= 0) == list(range(len(training().data.audio)))


def test_says_where_it_resumed_and_trains_nothing_twice(
    training: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        training(folder=tmp_path, epochs=5).fit(Recorder(stop_after=2))
    first = capsys.readouterr().out
    training(folder=tmp_path, epochs=5).fit()
    second = capsys.readouterr().out
    assert f"concat: resumed at epoch 4 of 5 from {tmp_path}/{CHECKPOINT}" in second
    assert [f"epoch {n} of 5  loss" in first for n in range(1, 6)] == [True, True, True, False, False]
    assert [f"epoch {n} of 5  loss" in second for n in range(1, 6)] == [False, False, False, True, True]
    training(folder=tmp_path, epochs=5).fit()
    assert "trained already, 5 epochs" in capsys.readouterr().out


def test_a_checkpoint_of_another_training_is_refused(training: Make, tmp_path: Path) -> None:
    training(folder=tmp_path, epochs=1).fit()
    with pytest.raises(AVFusionError, match="belongs to another training"):
        training(folder=tmp_path, epochs=1, fingerprint="g").fit()
    (tmp_path / CHECKPOINT).write_bytes(b"not a checkpoint")
    with pytest.raises(AVFusionError, match="cannot be read"):
        training(folder=tmp_path, epochs=1).fit()


def test_no_epochs_gives_the_untrained_model(training: Make) -> None:
    first, second = training(epochs=0).fit(), training(epochs=0).fit()
    assert first.history == []
    assert first.best_epoch == 0
    for key, value in first.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[key])
    assert not torch.equal(first.model.audio_mean, torch.zeros_like(first.model.audio_mean))


def test_other_seeds_give_other_models(training: Make) -> None:
    results = [training(epochs=1, seed=seed).fit() for seed in (0, 0, 1)]
    losses = [result.history[0]["loss"] for result in results]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("constant", [3e-3] * 4), ("cosine", [3e-3 * (1 + np.cos(np.pi * k / 4)) / 2 for k in range(4)])],
)
def test_logged_rate_is_the_one_that_the_optimiser_steps_with(
    schedule: str, expected: list[float], training: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[float] = []
    step = torch.optim.Adam.step

    def spy(self: torch.optim.Adam, *arguments: object, **options: object) -> object:
        used.append(self.param_groups[0]["lr"])
        return step(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.optim.Adam, "step", spy)
    logger = Recorder()
    work = training(schedule=schedule)
    work.fit(logger)
    steps = len(used) // 4
    assert [row["lr"] for row in logger.rows] == [used[epoch * steps] for epoch in range(4)]
    assert used == [rate for row in logger.rows for rate in [row["lr"]] * steps]
    assert [row["lr"] for row in logger.rows] == pytest.approx(expected)


def test_early_stopping_keeps_the_best_weights(training: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.1, 0.5, 0.4, 0.3, 0.2, 0.9])
    seen: list[torch.Tensor] = []

    def validate(self: FusionTraining, state: _State) -> dict[str, float]:
        seen.append(state.model.state_dict()["heads.valence.0.weight"].clone())
        return dict.fromkeys(("val_ccc_valence", "val_ccc_arousal", "val_ccc_mean"), next(scores))

    monkeypatch.setattr(FusionTraining, "_validate", validate)
    result = training(epochs=50, patience=3).fit()
    assert [row["epoch"] for row in result.history] == [1, 2, 3, 4, 5]
    assert result.best_epoch == 2
    assert torch.equal(result.model.state_dict()["heads.valence.0.weight"], seen[1])
    assert not torch.equal(seen[1], seen[4])


def test_validation_is_over_every_labelled_frame_by_the_inference_function(training: Make) -> None:
    from avfusion.fusion.track_inference import predict_track
    from avfusion.scoring.ccc import ccc

    work = training(epochs=1)
    result = work.fit()
    predictions = [predict_track(result.model, t, work.geometry, work.stride, "overlap") for t in work.validation]
    labels = np.concatenate([track.labels for track in work.validation])
    valid = np.concatenate([track.valid for track in work.validation])
    by_hand = ccc(np.concatenate(predictions)[:, 1], labels[:, 1], valid)
    assert result.history[0]["val_ccc_arousal"] == pytest.approx(by_hand, abs=1e-6)


def test_forward_runs_under_autocast_and_the_loss_in_float32(training: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    active: list[bool] = []
    kinds: list[torch.dtype] = []
    heads = fusion_class("concat").fuse
    loss = loop.ccc_loss

    def fuse(self: FusionModel, *arguments: torch.Tensor) -> object:
        if self.training:
            active.append(torch.is_autocast_enabled("cpu"))
            output = heads(self, *arguments)
            kinds.append(output.predictions.dtype)
            return output
        return heads(self, *arguments)

    def spy(predictions: torch.Tensor, targets: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        assert not torch.is_autocast_enabled("cpu")
        value = loss(predictions, targets, mask)
        assert value.dtype == torch.float32
        return value

    monkeypatch.setattr(fusion_class("concat"), "fuse", fuse)
    monkeypatch.setattr(loop, "ccc_loss", spy)
    logger = Recorder()
    result = training(epochs=2, amp="bfloat16").fit(logger)
    assert active
    assert all(active)
    assert set(kinds) == {torch.bfloat16}
    assert all(value.dtype == torch.float32 for value in result.model.parameters())
    assert logger.tags["amp"] == "bfloat16"
    assert logger.tags["amp.reason"] == "asked for"


def test_amp_auto_says_what_it_chose_and_why(training: Make) -> None:
    logger = Recorder()
    training(epochs=1).fit(logger)
    assert logger.tags["amp"] == "off"
    assert "CPU" in logger.tags["amp.reason"]


def test_float16_trains_with_a_scaled_loss(training: Make) -> None:
    result = training(epochs=8, amp="float16", dropout=0.0).fit()
    assert result.precision.scales_loss
    assert result.history[-1]["train_ccc_mean"] > 0.8


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_not_finite_stops_with_track_and_step_and_keeps_the_checkpoint(
    what: str, training: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = training(folder=tmp_path, epochs=5)
    steps_per_epoch = -(-len(work.data) // work.config.batch_size)
    calls = 0
    loss = loop.ccc_loss

    def breaking(*arguments: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        value = loss(*arguments)
        if calls != 2 * steps_per_epoch + 1:
            return value
        return value * torch.nan if what == "loss" else (value - value.detach()).sqrt() + 1

    monkeypatch.setattr(loop, "ccc_loss", breaking)
    with pytest.raises(AVFusionError, match=rf"concat: .*{what} is not finite at epoch 3, step 1 .*train-\d") as caught:
        work.fit()
    assert f"the checkpoint of epoch 2 is kept in {tmp_path}" in str(caught.value)
    saved = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert saved["epoch"] == 2
    assert all(torch.isfinite(value).all() for value in saved["model"].values())


def test_validation_without_labels_is_refused(training: Make) -> None:
    work = training()
    blind = [dataclasses.replace(track, valid=np.zeros_like(track.valid)) for track in work.validation]
    with pytest.raises(BadInputError, match="no frame of the validation tracks has a valid label"):
        training(validation=blind).fit()
