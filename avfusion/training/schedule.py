"""The learning rate schedule."""

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
