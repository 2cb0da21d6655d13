"""Settings of the room: the training of a fusion model (arXiv 2209.09068)."""

from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from avfusion.fusion.catalogue import find_fusion, option_fault
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.settings import Count, Fraction, Number, Positive, Section, Seed, Share, section_fault


def _known(name: str) -> str:
    try:
        find_fusion(name)
    except BadInputError as error:
        raise ValueError(str(error)) from None
    return name


FusionName = Annotated[str, AfterValidator(_known)]


class TrainSettings(Section):
    """Fusion training, with the paper's recipe as defaults.

    Attributes:
        score_smoothing: weight of an epoch relative to the next one's in the mean of validation scores by which the
            best epoch is chosen; 0: each epoch's own score.
        weight_averaging: decay per step of the moving average of the weights that is validated and kept; 0: the weights
            themselves.
        stopping: which tracks decide the number of epochs and the learning rate, of backbones and fusion models: a
            tenth of the training groups (`inner`), or the official validation split.
    """

    model: FusionName = "jca"
    options: dict[str, Any] = Field(default_factory=dict)
    weights: str | None = None
    baselines: tuple[FusionName, ...] = ("audio_only", "visual_only", "concat")
    seed: Seed = 0
    epochs: Annotated[int, Field(ge=0, strict=True)] = 50
    batch_size: Count = 64
    lr: Positive = 1e-4
    weight_decay: Annotated[Number, Field(ge=0)] = 0.0
    schedule: Literal["plateau", "cosine", "constant"] = "plateau"
    warmup_epochs: Annotated[int, Field(ge=0, strict=True)] = 0
    patience: Count = 10
    score_smoothing: Share = 0.0
    weight_averaging: Share = 0.0
    clip_norm: Positive = 1.0
    dropout: Share = 0.6
    modality_dropout: Fraction = 0.0
    sequence_offsets: Literal["fixed", "random"] = "fixed"
    amp: Literal["auto", "off", "float16", "bfloat16"] = "auto"
    stopping: Literal["inner", "validation"] = "validation"
    inference: Literal["overlap", "tile", "causal"] = "overlap"

    @model_validator(mode="after")
    def _options(self) -> "TrainSettings":
        if wrong := option_fault(self.model, self.options):
            option, allowed = wrong
            raise section_fault(f"options.{option}", self.options[option], allowed)
        return self

    @model_validator(mode="after")
    def _warmed_up(self) -> "TrainSettings":
        if self.warmup_epochs and self.warmup_epochs >= self.epochs:
            raise section_fault("warmup_epochs", self.warmup_epochs, f"must be below train.epochs ({self.epochs})")
        return self

    @model_validator(mode="after")
    def _untrained(self) -> "TrainSettings":
        if self.weights is not None and self.epochs == 0 and self.baselines:
            message = "train.weights starts the main model alone and train.epochs is 0: must be []"
            raise section_fault("baselines", list(self.baselines), message)
        return self

    def identity(self, exclude: Collection[str]) -> dict[str, Any]:
        """The keys by value, to tell trainings apart.

        Keys that came later are absent while they have their defaults, so that trainings from before them are found
        again. `stopping` is always absent: the tracks that it chooses are among a training's inputs.
        """
        later = ("warmup_epochs", "sequence_offsets", "score_smoothing", "weight_averaging")
        off = {key for key in later if getattr(self, key) == type(self).model_fields[key].default}
        return self.model_dump(mode="json", exclude={*exclude, *off, "stopping"})
