"""Settings of the room: scores, robustness, and the search for better parameters."""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, model_validator

from avfusion.experiments.sweep.dimensions import space_fault
from avfusion.runtime.settings import Count, Fraction, Section, Seed, section_fault
from avfusion.training.settings import TrainSettings


class RobustnessSettings(Section):
    """Scores with disturbed streams."""

    stride: Count = 32
    tracks: Count | None = None
    modality_dropout: Fraction = 0.3
    seed: Seed = 0


class SweepSettings(Section):
    """The search for better parameters of `train`. No stage depends on it."""

    study: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[\w. -]+$")] = "fusion"
    trials: Count = 30
    seed: Seed = 0
    startup_trials: Count = 10
    pruner: Literal["median", "hyperband", "none"] = "median"
    heartbeat: Count = 30
    space: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _space(self, info: ValidationInfo) -> "SweepSettings":
        if wrong := space_fault(self.space, TrainSettings, (info.context or {}).get("train.model")):
            key, value, message = wrong
            raise section_fault(f"space.{key}", value, message)
        return self
