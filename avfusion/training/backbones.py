"""Train one stream's backbone through a linear head, with the CCC loss (arXiv 2209.09068, section 5.2)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import OneCycleLR

from avfusion.backbones.registry import Backbone
from avfusion.backbones.settings import BackboneSettings
from avfusion.data.clips.clips import Clips, batches
from avfusion.runtime.errors import AVFusionError
from avfusion.scoring.ccc import ccc
from avfusion.training.batch_norm import freeze_statistics
from avfusion.training.checkpoints import load_checkpoint, save_checkpoint
from avfusion.training.losses import ccc_loss
from avfusion.training.precision import MAX_SKIPPED_STEPS, Precision
from avfusion.training.processes import Processes

Prepare = Callable[[Tensor, torch.Generator | None], Tensor]
STRIDES = {"train": 1, "val": 8}  # ticks between the ends of clips, by split
HISTORY_COLUMNS = (
    *("epoch", "lr", "train_loss", "train_ccc_valence", "train_ccc_arousal"),
    *("val_ccc_valence", "val_ccc_arousal", "val_ccc_mean"),
)


class TrainingData(NamedTuple):
    """Training data of a backbone.

    Attributes:
        prepare: prepares stored clips for the network; augments if a generator is given.
    """

    prepare: Prepare
    train: Clips
    val: Clips


@dataclass(frozen=True)
class BackboneTraining:
    """Course of a training: a mapping per epoch, and the epoch of the kept weights (from 1; 0: untrained).

    `train_ccc_*` are pooled over the epoch's augmented clips; `val_ccc_*` over the validation clips. `processes`: the
    greatest number at a time.
    """

    history: list[dict[str, float]]
    best_epoch: int
    processes: int = 1


class BackboneTrainer:
    """One training; `fit` continues from the last checkpoint with the same fingerprint, if there is one.

    Every epoch draws its clips, augmentation and dropout from generators seeded by (seed, stream, epoch), so that a
    continued training gives the same bits as an uninterrupted one. Several processes share each batch: its CCC, which
    is not an average over parts, covers all their predictions, so a step equals that of one process, up to rounding and
    to each process's own draws of augmentation and dropout.

    Args:
        prepare: prepares stored clips for the network.
        batch_norm: `train`, or `frozen` to use and keep the backbone's initial statistics.
        augment: augment training clips: `prepare` gets a generator.
        processes: the processes that train this backbone, all with the same arguments; this one uses
            `processes.device`.
        checkpoints: folder of `checkpoint.pt`, written after every epoch before it is logged; None: no checkpoints.
    """

    def __init__(
        self,
        backbone: Backbone,
        prepare: Prepare,
        train: Clips,
        val: Clips,
        params: BackboneSettings,
        *,
        seed: int = 0,
        batch_norm: str = "train",
        augment: bool = True,
        precision: Precision | None = None,
        processes: Processes | None = None,
        checkpoints: Path | None = None,
        fingerprint: str = "",
    ) -> None:
        self.processes = processes or Processes()
        self.frozen, self.augment = batch_norm == "frozen", augment
        self.backbone = backbone.to(self.processes.device)
        self.prepare, self.train, self.val, self.params = prepare, train, val, params
        self.seed, self.device = seed, torch.device(self.processes.device)
        self.precision = precision or Precision("off", None, "not requested")
        self.checkpoints, self.fingerprint = checkpoints, fingerprint
        self.steps = max(1, self._steps_per_epoch())
        self.optimiser = torch.optim.AdamW(self.backbone.parameters(), lr=params.lr, weight_decay=params.weight_decay)
        self.schedule = OneCycleLR(self.optimiser, params.lr, total_steps=max(self.steps * params.epochs, 1) + 1)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision.scales_loss)
        self._skipped = 0  # consecutive steps skipped for float16 overflow

    def fit(self) -> BackboneTraining:
        """Train, stop early, and leave the weights of the best epoch in the backbone, in evaluation mode.

        Raises:
            AVFusionError: there are too few labelled clips, or a loss, gradient or validation prediction is not finite
                (the last checkpoint is kept).
        """
        stream = self.backbone.stream
        if self.params.epochs and min(len(self.train.targets), len(self.val.targets)) < 2:
            raise AVFusionError(
                f"{stream} backbone: {len(self.train.targets)} labelled training clips and {len(self.val.targets)} "
                "validation clips: at least 2 of each are needed"
            )
        self._check_shares()
        if self.params.epochs:
            self._warn_of_rare_shapes()
        history: list[dict[str, float]] = []
        self.backbone.load_state_dict(self.processes.from_leader(self._state()))
        best: dict[str, Any] = {"score": -math.inf, "epoch": 0, "state": self._state()}
        most = self.processes.count
        if state := self._resume():
            history, best, most = state["history"], state["best"], max(most, state["processes"])
            self._say(f"resumed after epoch {len(history)}")
        for epoch in range(len(history) + 1, self.params.epochs + 1):
            if epoch - best["epoch"] > self.params.patience and best["epoch"]:
                break
            row = self._epoch(epoch)
            history.append(row)
            if row["val_ccc_mean"] > best["score"]:
                best = {"score": row["val_ccc_mean"], "epoch": epoch, "state": self._state()}
            if self.processes.leads:
                self._checkpoint(history, best, most)
                self._log(row)
        self.backbone.load_state_dict(best["state"])
        self.backbone.eval()
        return BackboneTraining(history, best["epoch"], most)

    def score(self, clips: Clips) -> tuple[float, float]:
        """Pooled CCC of valence and arousal of the head over clips, without augmentation."""
        return _scores(self._predict(clips), clips.targets)

    def _predict(self, clips: Clips) -> np.ndarray:
        """Predictions (M, 2) of the head, without augmentation."""
        self.backbone.eval()
        predictions = np.zeros_like(clips.targets)
        every = list(batches(clips, np.arange(len(clips.targets)), self.params.batch_size))
        # Whole batches, so that bits do not depend on the number of processes.
        for batch in every[self.processes.rank :: self.processes.count]:
            with torch.inference_mode():
                predictions[batch] = self._forward(self.prepare(clips.load(batch), None)).cpu().numpy()
        return self.processes.sum(predictions)  # each row comes from one process and is 0 in the others

    def _check_shares(self) -> None:
        smallest, count = self._smallest_batch(), self.processes.count
        if self.params.epochs and smallest < count:
            raise AVFusionError(
                f"{self.backbone.stream} backbone: batches of {smallest} clips cannot be shared by {count} processes: "
                f"raise backbones.{self.backbone.stream}.batch_size to {2 * count} or more, or start fewer"
            )

    def _smallest_batch(self) -> int:
        """Least size of a batch: small remainders of a shape are dropped, since a CCC over few clips is mostly noise.

        If every shape has few clips, two are enough.
        """
        usual = min(max(2, self.params.batch_size // 2), len(self.train.targets))
        most = int(np.bincount(self.train.shape_of).max()) if len(self.train.targets) else 0
        return usual if most >= usual else 2

    def _steps_per_epoch(self) -> int:
        """The configured number of steps, at most one pass over all clips."""
        size, asked = self.params.batch_size, self.params.steps_per_epoch
        if asked is not None:
            return min(asked, math.ceil(len(self.train.targets) / size))
        everything = np.arange(len(self.train.targets))
        return sum(1 for _ in batches(self.train, everything, size, smallest=self._smallest_batch()))

    def _warn_of_rare_shapes(self) -> None:
        """Warn of clips whose rare length never fills a batch (for sound: rare frame rates)."""
        counts, smallest = np.bincount(self.train.shape_of), self._smallest_batch()
        if left := int(counts[counts < smallest].sum()):
            self._say(
                f"{left} of {len(self.train.targets)} training clips are never seen: fewer than {smallest} are of "
                f"their length; a smaller backbones.{self.backbone.stream}.batch_size takes them in"
            )

    def _validate(self, epoch: int) -> tuple[float, float]:
        """`score` of the validation clips; refuses scores that are not finite."""
        predictions = self._predict(self.val)
        broken = np.flatnonzero(~np.isfinite(predictions + self.val.targets).all(axis=1))
        if len(broken):
            raise self._broken("the validation score", epoch, f"after epoch {epoch}", self.val.names(broken))
        return _scores(predictions, self.val.targets)

    def _epoch(self, epoch: int) -> dict[str, float]:
        size = self.params.batch_size
        sampler = np.random.default_rng([self.seed, len(self.backbone.stream), epoch])
        # Processes draw differently; with equal draws, different clips of a batch would share them.
        generator = torch.Generator().manual_seed(int(sampler.integers(2**62)) + self.processes.rank)
        torch.manual_seed(int(sampler.integers(2**62)) + self.processes.rank)  # for dropout
        chosen = sampler.permutation(len(self.train.targets))[: self.steps * size]
        plan = list(batches(self.train, chosen, size, smallest=min(self._smallest_batch(), len(chosen))))
        if not plan:  # the few drawn clips have many lengths
            plan = list(batches(self.train, chosen, size, smallest=2))
        if not plan:
            raise AVFusionError(
                f"{self.backbone.stream} backbone: no batch can be made at epoch {epoch}: no two of the {len(chosen)} "
                "clips drawn are of one length: raise batch_size or steps_per_epoch, or set geometry.fps"
            )
        order = sampler.permutation(len(plan))[: self.steps]
        self.backbone.train()
        if self.frozen:
            freeze_statistics(self.backbone)
        losses, predictions = [], []
        for step, number in enumerate(order, start=1):
            loss, output = self._step(plan[number], generator if self.augment else None, epoch, step)
            losses.append(loss)
            predictions.append(output)
        rate = float(self.optimiser.param_groups[0]["lr"])
        for _ in range(self.steps - len(order)):
            self.schedule.step()  # the cycle covers full epochs
        seen = np.concatenate([self.train.targets[plan[number]] for number in order])
        train, val = _scores(np.concatenate(predictions), seen), self._validate(epoch)
        return {
            "epoch": epoch,
            "lr": rate,
            "train_loss": float(np.mean(losses)),
            "train_ccc_valence": train[0],
            "train_ccc_arousal": train[1],
            "val_ccc_valence": val[0],
            "val_ccc_arousal": val[1],
            "val_ccc_mean": sum(val) / 2,
        }

    def _step(
        self, batch: np.ndarray, generator: torch.Generator | None, epoch: int, step: int
    ) -> tuple[float, np.ndarray]:
        """One optimiser step on the clips `batch` (B,); returns the loss and the predictions (B, 2)."""
        clips = self.prepare(self.train.load(self.processes.share(batch)), generator)
        targets = torch.from_numpy(self.train.targets[batch]).to(self.device)
        where = f"at epoch {epoch}, step {step}"
        predictions = self.processes.gather(self._forward(clips), len(batch))
        loss = ccc_loss(predictions, targets, torch.ones(len(targets), dtype=torch.bool, device=self.device))
        if not math.isfinite(loss.item()):
            raise self._broken("the loss", epoch, where, self.train.names(batch))
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.processes.sum_gradients(self.backbone.parameters())
        self.scaler.unscale_(self.optimiser)
        gradients = [weight.grad for weight in self.backbone.parameters() if weight.grad is not None]
        # The scaler itself skips a step with overflowed float16 gradients, and lowers the scale.
        overflow = not bool(torch.isfinite(torch.nn.utils.get_total_norm(gradients)))
        self._skipped = self._skipped + 1 if overflow else 0
        if overflow and (not self.precision.scales_loss or self._skipped > MAX_SKIPPED_STEPS):
            raise self._broken("a gradient", epoch, where, self.train.names(batch))
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.schedule.step()
        return loss.item(), predictions.detach().float().cpu().numpy()

    def _broken(self, what: str, epoch: int, where: str, names: list[str]) -> AVFusionError:
        stream = self.backbone.stream
        tracks = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        saved = self.checkpoints is not None and epoch > 1
        kept = f"; the checkpoint of epoch {epoch - 1} is kept in {self.checkpoints}" if saved else ""
        return AVFusionError(
            f"{stream} backbone: {what} is not finite {where} (tracks {tracks}){kept}: lower backbones.{stream}.lr, or "
            "set backbones.amp to off"
        )

    def _forward(self, clips: Tensor) -> Tensor:
        """Prepared clips → predictions (B, 2) float32."""
        dtype = self.precision.dtype
        with torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None):
            features = self.backbone(clips.to(self.device))
        if features.ndim == 4:
            features = features.mean(dim=(2, 3))
        return self.backbone.head(features.float())

    def _state(self) -> dict[str, Tensor]:
        return {name: value.detach().cpu().clone() for name, value in self.backbone.state_dict().items()}

    def _checkpoint(self, history: list[dict[str, float]], best: dict[str, Any], processes: int) -> None:
        if self.checkpoints is None:
            return
        state = {
            "fingerprint": self.fingerprint,
            "backbone": self._state(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "history": history,
            "best": best,
            "processes": processes,
        }
        save_checkpoint(self.checkpoints, state)

    def _resume(self) -> dict[str, Any] | None:
        if self.checkpoints is None:
            return None
        found = load_checkpoint(self.checkpoints, self.fingerprint) if self.processes.leads else None
        state: dict[str, Any] | None = self.processes.from_leader(found)
        if state:
            self.backbone.load_state_dict(state["backbone"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.schedule.load_state_dict(state["schedule"])
            self.scaler.load_state_dict(state["scaler"])
        return state

    def _log(self, row: dict[str, float]) -> None:
        epoch = int(row["epoch"])
        self._say(
            f"epoch {epoch}: loss {row['train_loss']:.3f}, CCC valence/arousal train "
            f"{row['train_ccc_valence']:.3f}/{row['train_ccc_arousal']:.3f}, val "
            f"{row['val_ccc_valence']:.3f}/{row['val_ccc_arousal']:.3f}"
        )

    def _say(self, words: str) -> None:
        if self.processes.leads:
            print(f"{self.backbone.stream} backbone: {words}", flush=True)


def _scores(predictions: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    valence, arousal = (float(ccc(predictions[:, target], targets[:, target])) for target in range(2))
    return valence, arousal
