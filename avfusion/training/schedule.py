"""The one owner of the learning rate."""

from typing import Any

import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau

PLATEAU_FACTOR = 0.5
PLATEAU_EPOCHS = 4


class LearningRate:
    """Sets the optimiser's learning rate after each epoch; nothing else may.

    The published run collapsed at its sixth epoch because a second schedule multiplied the rate behind the first
    one's back.

    Args:
        kind: `plateau`: halved when the validation score has not risen for 5 epochs; `cosine`: down to zero over all
            epochs; `constant`.
    """

    def __init__(self, optimiser: torch.optim.Optimizer, kind: str, epochs: int) -> None:
        self.optimiser = optimiser
        self._scheduler: ReduceLROnPlateau | CosineAnnealingLR | None = None
        if kind == "plateau":
            self._scheduler = ReduceLROnPlateau(optimiser, "max", factor=PLATEAU_FACTOR, patience=PLATEAU_EPOCHS)
        elif kind == "cosine":
            self._scheduler = CosineAnnealingLR(optimiser, T_max=max(epochs, 1))
        elif kind != "constant":
            raise ValueError(f"schedule {kind!r} is unknown: must be one of plateau, cosine, constant")

    @property
    def value(self) -> float:
        """The rate that the optimiser will use."""
        return float(self.optimiser.param_groups[0]["lr"])

    def step(self, score: float) -> None:
        """End an epoch whose validation score (higher is better) was `score`."""
        if isinstance(self._scheduler, ReduceLROnPlateau):
            self._scheduler.step(score)
        elif self._scheduler is not None:
            self._scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint."""
        return {} if self._scheduler is None else self._scheduler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a checkpoint's state; the rate itself is the optimiser's and comes with its state."""
        if self._scheduler is not None:
            self._scheduler.load_state_dict(state)
