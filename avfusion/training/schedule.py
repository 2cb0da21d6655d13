"""What follows the epochs of a training: the learning rate, and the score by which epochs are compared."""

from typing import Any

import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau

PLATEAU_FACTOR = 0.5
PLATEAU_EPOCHS = 4


class LearningRate:
    """Sets the optimiser's learning rate after each epoch, as its single owner.

    The published run collapsed at its sixth epoch because a second schedule also multiplied the rate.

    Args:
        kind: `plateau`: halve after 5 epochs without a better validation score; `cosine`: down to zero over all epochs;
            `constant`.
        warmup: epochs before that, over which the rate rises in even steps to the optimiser's own.
    """

    def __init__(self, optimiser: torch.optim.Optimizer, kind: str, epochs: int, warmup: int = 0) -> None:
        self.optimiser = optimiser
        self._warmup, self._warmed, self._full = warmup, 0, self.value
        self._scheduler: ReduceLROnPlateau | CosineAnnealingLR | None = None
        if kind == "plateau":
            self._scheduler = ReduceLROnPlateau(optimiser, "max", factor=PLATEAU_FACTOR, patience=PLATEAU_EPOCHS)
        elif kind == "cosine":
            self._scheduler = CosineAnnealingLR(optimiser, T_max=max(epochs - warmup, 1))
        elif kind != "constant":
            raise ValueError(f"schedule {kind!r} is unknown: must be one of plateau, cosine, constant")
        if warmup:
            self._warm()

    @property
    def value(self) -> float:
        """The current rate."""
        return float(self.optimiser.param_groups[0]["lr"])

    def step(self, score: float) -> None:
        """End an epoch with the validation score `score` (higher is better)."""
        if self._warmed < self._warmup:
            self._warmed += 1
            self._warm()
        elif isinstance(self._scheduler, ReduceLROnPlateau):
            self._scheduler.step(score)
        elif self._scheduler is not None:
            self._scheduler.step()

    def _warm(self) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = self._full * ((self._warmed + 1) / (self._warmup + 1))

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint."""
        schedule = {} if self._scheduler is None else self._scheduler.state_dict()
        return {"warmed": self._warmed, "schedule": schedule}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a checkpoint's state; the rate itself comes with the optimiser's state."""
        self._warmed = state["warmed"]
        if self._scheduler is not None:
            self._scheduler.load_state_dict(state["schedule"])


class SmoothedScore:
    """Exponentially weighted mean of the validation scores so far, by which the best epoch is chosen.

    Weights are normalised, so that the mean is not drawn to a start: the first epoch's is its own score.

    Args:
        smoothing: weight of an epoch relative to the next one's, in [0, 1); 0: each epoch's own score.
    """

    def __init__(self, smoothing: float) -> None:
        self.smoothing = smoothing
        self._sum = self._weight = 0.0

    def step(self, score: float) -> float:
        """End an epoch with the validation score `score`; returns the mean."""
        self._sum = self.smoothing * self._sum + score
        self._weight = self.smoothing * self._weight + 1
        return self._sum / self._weight

    def state_dict(self) -> dict[str, float]:
        """State for a checkpoint."""
        return {"sum": self._sum, "weight": self._weight}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Restore a checkpoint's state."""
        self._sum, self._weight = state["sum"], state["weight"]
