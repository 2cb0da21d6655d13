"""Train a fusion model on cached features: setup, fit, validate.

The paper's recipe (arXiv 2209.09068, section 5.2), plus what its published code lacks: shuffled sequences, a single
owner of the learning rate, validation over every labelled frame, and a checkpoint per epoch from which training
continues with the same bits.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel

from avfusion.data.settings import GeometrySettings
from avfusion.data.track_data import TrackData
from avfusion.fusion.base import FusionModel
from avfusion.fusion.inference import NotFiniteError
from avfusion.fusion.registry import build_fusion, model_options
from avfusion.fusion.track_inference import predict_track
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.runtime.named_tensors import load_named
from avfusion.scoring.ccc import ccc
from avfusion.training.averaging import renew_statistics, weight_average
from avfusion.training.checkpoints import CHECKPOINT, load_checkpoint, save_checkpoint
from avfusion.training.logger import NullLogger, RunLogger
from avfusion.training.losses import ccc_loss
from avfusion.training.precision import MAX_SKIPPED_STEPS, Precision, resolve_precision
from avfusion.training.schedule import LearningRate, SmoothedScore
from avfusion.training.sequences import Batch, SequenceData, drop_streams
from avfusion.training.settings import TrainSettings
from avfusion.training.start import Start

HISTORY_COLUMNS = (
    "epoch",
    "loss",
    "lr",
    *(f"{split}_ccc_{name}" for split in ("train", "val") for name in ("valence", "arousal", "mean")),
)
OPTIONAL_COLUMNS = ("val_ccc_smoothed", *(f"raw_val_ccc_{name}" for name in ("valence", "arousal", "mean")))
"""Columns of trainings with `train.score_smoothing`, and with `train.weight_averaging`: scores of the last weights."""


@dataclass
class TrainedFusion:
    """A trained model and the course of its training.

    Attributes:
        model: the model with the weights of the best epoch (averaged, with `train.weight_averaging`), in eval mode.
        history: a row per epoch with `HISTORY_COLUMNS`, and with those of `OPTIONAL_COLUMNS` that apply.
        best_epoch: the best epoch, from 1; 0: untrained.
        seconds_per_epoch: wall time including validation; None if unknown.
    """

    model: FusionModel
    history: list[dict[str, float]]
    best_epoch: int
    precision: Precision
    seconds_per_epoch: float | None = None


@dataclass
class _State:
    """Everything that changes while a model trains; `averaged`: None without `train.weight_averaging`."""

    model: FusionModel
    optimiser: torch.optim.Optimizer
    rate: LearningRate
    scaler: torch.amp.GradScaler
    shuffle: torch.Generator
    smoothed: SmoothedScore
    averaged: AveragedModel | None
    best: dict[str, Any]
    epoch: int = 0
    skipped: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def kept(self) -> FusionModel:
        """The model that is validated and kept."""
        return self.model if self.averaged is None else cast(FusionModel, self.averaged.module)

    def _parts(self) -> dict[str, Any]:
        names = ("model", "optimiser", "rate", "scaler", "smoothed", "averaged")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self._parts().items()} | {
            "shuffle": self.shuffle.get_state(),
            "best": self.best,
            "epoch": self.epoch,
            "skipped": self.skipped,
            "seconds": self.seconds,
            "history": self.history,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.shuffle.set_state(state["shuffle"])
        self.best, self.epoch, self.history = state["best"], state["epoch"], state["history"]
        self.skipped, self.seconds = state["skipped"], state["seconds"]


@dataclass(frozen=True)
class FusionTraining:
    """Inputs of a training; `fit` runs it.

    Attributes:
        name: the fusion model's name in the registry, and in log lines.
        validation: the validation tracks; early stopping uses all their labelled frames.
        config: section `train`; its `seed` decides weights, order and dropout.
        fingerprint: fingerprint of everything that decides the result; checkpoints with another are refused.
        quiet: print no line per epoch.
    """

    name: str
    data: SequenceData
    validation: Sequence[TrackData]
    config: TrainSettings
    geometry: GeometrySettings
    stride: int
    options: Mapping[str, Any] = field(default_factory=dict)
    start: Start | None = None
    folder: Path | None = None
    fingerprint: str = ""
    device: str = "cpu"
    quiet: bool = False

    def fit(self, logger: RunLogger | None = None) -> TrainedFusion:
        """Train until the last epoch, or until `patience` epochs have not improved the validation score.

        An epoch is logged after its checkpoint, so a logged epoch is never trained again; epochs saved but not logged
        by a killed process are logged on resumption.

        Raises:
            BadInputError: no validation frame has a label, or the initial weights do not fit.
            AVFusionError: features, loss, gradients or validation predictions are NaN or infinite.
        """
        logger = logger or NullLogger()
        precision = resolve_precision(self.config.amp, self.device)
        logger.set_tags(precision.tags() | {"device": self.device})
        state = self._setup(precision)
        log_missing(state.history, logger)
        while not self._finished(state):
            started = time.perf_counter()
            state.epoch += 1
            row = {"epoch": state.epoch, "lr": state.rate.value} | self._train_epoch(state, precision)
            row |= self._validate(state)
            score = state.smoothed.step(row["val_ccc_mean"])
            if self.config.score_smoothing:
                row["val_ccc_smoothed"] = score
            if score > state.best["score"]:
                state.best = {"epoch": state.epoch, "score": score, "model": _copy(state.kept)}
            # By the weights' own score, so that neither averages nor smoothing change the course of the weights.
            state.rate.step(row.get("raw_val_ccc_mean", row["val_ccc_mean"]))
            state.history.append(history_row(row))
            seconds = time.perf_counter() - started
            state.seconds += seconds
            self._save(state)
            self._say(self._line(row, state.best, seconds))
            logger.log_metrics(_metrics(row), step=state.epoch)
        state.model.load_state_dict(state.best["model"])
        pace = state.seconds / state.epoch if state.epoch else None
        return TrainedFusion(state.model.eval(), state.history, state.best["epoch"], precision, pace)

    def _setup(self, precision: Precision) -> _State:
        if not any(track.valid.any() for track in self.validation):
            raise BadInputError(
                "no frame of the validation tracks has a valid label: early stopping has nothing to see"
            )
        common = {"dropout": self.config.dropout} if "dropout" in model_options(self.name) else {}
        torch.manual_seed(self.config.seed)
        model = build_fusion(
            self.name,
            audio_dim=self.data.audio.shape[1],
            visual_dim=self.data.visual.shape[1],
            length=self.data.index.shape[1],
            **(common | dict(self.options)),
        ).to(self.device)
        if self.start is None:
            model.set_standardisation(**self.data.statistics())
        else:
            load_named(model, self.start.tensors, f"{self.start.facts['weights']} (train.weights)")
        config = self.config
        optimiser = torch.optim.Adam(model.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True)
        state = _State(
            model,
            optimiser,
            LearningRate(optimiser, config.schedule, config.epochs, config.warmup_epochs),
            torch.amp.GradScaler(torch.device(self.device).type, enabled=precision.scales_loss),
            torch.Generator().manual_seed(self.config.seed),
            SmoothedScore(self.config.score_smoothing),
            weight_average(model, self.config.weight_averaging) if self.config.weight_averaging else None,
            best={"epoch": 0, "score": -float("inf"), "model": _copy(model)},
        )
        if self.folder and (saved := load_checkpoint(self.folder, self.fingerprint)):
            state.load_state_dict(saved)
            self._say(self._resumed(state))
        return state

    def _finished(self, state: _State) -> bool:
        stalled = state.epoch - state.best["epoch"] >= self.config.patience
        return state.epoch >= self.config.epochs or stalled

    def _train_epoch(self, state: _State, precision: Precision) -> dict[str, float]:
        state.model.train()
        data = self.data if self.config.sequence_offsets == "fixed" else self.data.redrawn(state.shuffle)
        order = torch.randperm(len(data), generator=state.shuffle)
        losses, predictions, targets = [], [], []
        for step, rows in enumerate(order.split(self.config.batch_size), start=1):
            batch = drop_streams(data.batch(rows), self.config.modality_dropout, state.shuffle)
            if int(batch.valid.sum()) < 2:
                continue  # the CCC of fewer than two clips is undefined
            output = self._step(state, precision, batch, f"epoch {state.epoch}, step {step}", data.names(rows))
            losses.append(output[0])
            predictions.append(output[1][batch.valid])
            targets.append(batch.targets[batch.valid])
        if not losses:
            raise BadInputError("no training batch has two valid clips: raise train.batch_size")
        pooled = [torch.cat(parts).cpu().numpy() for parts in (predictions, targets)]
        return {"loss": float(torch.stack(losses).mean())} | _scores("train", *pooled)

    def _step(
        self, state: _State, precision: Precision, batch: Batch, where: str, names: Sequence[str]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One optimiser step; returns the loss and the predictions (B, L, 2) in float32, detached."""
        device = torch.device(self.device).type
        with torch.autocast(device, dtype=precision.dtype, enabled=precision.dtype is not None):
            predictions = state.model(
                batch.audio, batch.visual, batch.audio_present, batch.visual_present, batch.padding
            ).predictions
        loss = ccc_loss(predictions, batch.targets, batch.valid)
        if not torch.isfinite(loss):
            raise self._broken("the loss", where, names, state.epoch)
        state.optimiser.zero_grad(set_to_none=True)
        state.scaler.scale(loss).backward()
        state.scaler.unscale_(state.optimiser)
        norm = torch.nn.utils.clip_grad_norm_(state.model.parameters(), self.config.clip_norm)
        # The scaler itself skips a step with overflowed float16 gradients, and lowers the scale.
        overflow = not bool(torch.isfinite(norm))
        state.skipped = state.skipped + 1 if overflow else 0
        if overflow and (not precision.scales_loss or state.skipped > MAX_SKIPPED_STEPS):
            raise self._broken("a gradient", where, names, state.epoch)
        state.scaler.step(state.optimiser)
        state.scaler.update()
        if state.averaged is not None and not overflow:
            state.averaged.update_parameters(state.model)
        return loss.detach(), predictions.detach().float()

    def _validate(self, state: _State) -> dict[str, float]:
        """CCC over every labelled frame of the validation tracks, pooled."""
        if state.averaged is None:
            return self._validation_scores("val", state.model, state.epoch)
        renew_statistics(state.averaged, self.data.batches(self.config.batch_size))
        averaged = self._validation_scores("val", state.kept, state.epoch)
        return averaged | self._validation_scores("raw_val", state.model, state.epoch)

    def _validation_scores(self, prefix: str, model: FusionModel, epoch: int) -> dict[str, float]:
        predictions = []
        for track in self.validation:
            try:
                frames = predict_track(model, track, self.geometry, self.stride, self.config.inference)
            except NotFiniteError:
                raise self._broken("a prediction", f"epoch {epoch}, validation", [track.track], epoch) from None
            predictions.append(frames[track.valid])
        labels = [track.labels[track.valid] for track in self.validation]
        return _scores(prefix, np.concatenate(predictions), np.concatenate(labels))

    def _save(self, state: _State) -> None:
        if self.folder:
            save_checkpoint(self.folder, state.state_dict() | {"fingerprint": self.fingerprint})

    def _say(self, line: str) -> None:
        if not self.quiet:
            print(line, flush=True)

    def _resumed(self, state: _State) -> str:
        checkpoint = f"{self.folder}/{CHECKPOINT}"
        if self._finished(state):
            return f"{self.name}: trained already, {state.epoch} epochs, best {state.best['epoch']} ({checkpoint})"
        return f"{self.name}: resumed at epoch {state.epoch + 1} of {self.config.epochs} from {checkpoint}"

    def _line(self, row: Mapping[str, float], best: Mapping[str, Any], seconds: float) -> str:
        train, val = (f"{row[f'{s}_ccc_valence']:.3f} / {row[f'{s}_ccc_arousal']:.3f}" for s in ("train", "val"))
        epoch = f"epoch {row['epoch']:>{len(str(self.config.epochs))}} of {self.config.epochs}"
        of = " smoothed" if self.config.score_smoothing else ""
        return (
            f"{self.name}: {epoch}  loss {row['loss']:.3f}  lr {row['lr']:.1e}  CCC valence / arousal "
            f"train {train}  val {val}  best{of} {best['score']:.3f} (epoch {best['epoch']})  {seconds:.2f} s"
        )

    def _broken(self, what: str, where: str, names: Sequence[str], epoch: int) -> AVFusionError:
        tracks = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        kept = f"; the checkpoint of epoch {epoch - 1} is kept in {self.folder}" if self.folder else ""
        return AVFusionError(
            f"{self.name}: {what} is not finite at {where} (tracks {tracks}){kept}: lower train.lr or train.clip_norm, "
            "or set train.amp to off"
        )


def history_row(row: Mapping[str, float]) -> dict[str, float]:
    """The columns of a row of the history, in their order."""
    return {key: row[key] for key in HISTORY_COLUMNS} | {key: row[key] for key in OPTIONAL_COLUMNS if key in row}


def log_missing(history: Sequence[Mapping[str, float]], logger: RunLogger) -> None:
    """Log the epochs that are missing in a run."""
    logged = logger.last_step("loss") if history else None
    for row in history[logged or 0 :]:
        logger.log_metrics(_metrics(row), step=int(row["epoch"]))


def split_scores(
    model: FusionModel, tracks: Sequence[TrackData], geometry: GeometrySettings, stride: int, config: TrainSettings
) -> dict[str, float | None]:
    """Pooled CCC of every labelled frame of the tracks: valence, arousal and their mean."""
    predictions = [predict_track(model, track, geometry, stride, config.inference)[track.valid] for track in tracks]
    pooled, labels = np.concatenate(predictions), np.concatenate([track.labels[track.valid] for track in tracks])
    names = ("valence", "arousal")
    if len(pooled) < 2:
        return dict.fromkeys((*(f"ccc_{name}" for name in names), "ccc_mean"))
    scores: dict[str, float | None] = {f"ccc_{name}": ccc(pooled[:, c], labels[:, c]) for c, name in enumerate(names)}
    return scores | {"ccc_mean": float(np.mean([value for value in scores.values() if value is not None]))}


def _scores(split: str, predictions: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    valence, arousal = (ccc(predictions[:, c], targets[:, c]) for c in range(2))
    return {
        f"{split}_ccc_valence": valence,
        f"{split}_ccc_arousal": arousal,
        f"{split}_ccc_mean": (valence + arousal) / 2,
    }


def _metrics(row: Mapping[str, float]) -> dict[str, float]:
    return {key: value for key, value in row.items() if key != "epoch"}


def _copy(model: FusionModel) -> dict[str, torch.Tensor]:
    return {key: value.detach().cpu().clone() for key, value in model.state_dict().items()}
