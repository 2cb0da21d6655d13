"""Settings of the room: the two backbones, their training, and their features."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from avfusion.backbones.catalogue import backbone_fault, backbone_module
from avfusion.runtime.settings import Count, Number, Positive, Section, Seed, Share, section_fault


def _folds(value: object) -> object:
    if value == 1 and not isinstance(value, bool):
        raise ValueError("must be 0 (none), or 2 or more")
    return 0 if value is None else value


Folds = Annotated[int, BeforeValidator(_folds), Field(ge=0, strict=True)]


class BackboneSettings(Section):
    """One stream's network and its training."""

    name: str
    width: Count = 64
    input_size: Count = 112
    weights: str = "random"
    epochs: Annotated[int, Field(ge=0, strict=True)] = 10
    steps_per_epoch: Count | None = None
    batch_size: Annotated[int, Field(ge=2, strict=True)] = 32
    lr: Positive = 1e-3
    weight_decay: Annotated[Number, Field(ge=0)] = 1e-2
    dropout: Share = 0.3
    patience: Count = 3


class BackbonesSettings(Section):
    """Both streams' networks."""

    seed: Seed = 0
    amp: Literal["auto", "off", "float16", "bfloat16"] = "auto"
    output: Literal["pooled", "map"] = "pooled"
    batch_norm: Literal["frozen", "train"] = "frozen"
    augmentation: Annotated[bool, Field(strict=True)] = True
    hue: Annotated[Number, Field(ge=0, le=0.5)] = 0.0
    folds: Folds = 0
    visual: BackboneSettings
    audio: BackboneSettings

    @model_validator(mode="after")
    def _names(self) -> "BackbonesSettings":
        for stream, backbone in (("visual", self.visual), ("audio", self.audio)):
            if wrong := backbone_fault(stream, backbone.name, backbone.weights, backbone.width, backbone.input_size):
                key, allowed = wrong
                raise section_fault(f"{stream}.{key}", getattr(backbone, key), allowed)
        return self

    @property
    def modules(self) -> tuple[str, str]:
        """The modules that define the two networks."""
        return backbone_module("audio", self.audio.name), backbone_module("visual", self.visual.name)


class FeaturesSettings(Section):
    """Features cached for fusion."""

    layout: Literal["clips", "frames"] = "clips"
    stride: Count = 8
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    threads: Count = 1
    batch_size: Count = 32
