"""Settings of the room: the place of the raw data, and the demo corpus."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from avfusion.runtime.settings import Positive, Section, Seed, section_fault

DEMO_ROOT = "data/raw/demo"  # the out of the stage `render` in dvc.yaml


Lag = Annotated[float, Field(ge=-10, le=10)]


class CorpusSettings(Section):
    """Where the data are."""

    name: Literal["demo", "affwild2", "manifest", "ravdess", "cremad"] = "demo"
    root: str = DEMO_ROOT
    annotations: str | None = None
    test_list: str | None = None
    manifest: str | None = None
    label_lag_valence_s: Lag = 0.0
    label_lag_arousal_s: Lag = 0.0

    @property
    def lags_s(self) -> tuple[float, float]:
        """Seconds by which labels of valence and arousal lag behind the video, besides those of single tracks."""
        return self.label_lag_valence_s, self.label_lag_arousal_s

    @model_validator(mode="after")
    def _rendered(self) -> "CorpusSettings":
        if self.name == "demo" and Path(self.root) != Path(DEMO_ROOT):
            message = f"the demo corpus is rendered into {DEMO_ROOT}; corpus.name affwild2 reads its form elsewhere"
            raise section_fault("root", self.root, message)
        return self


class RenderSettings(Section):
    """The demo corpus."""

    seed: Seed = 1
    train: Annotated[int, Field(ge=1, strict=True)] = 60
    val: Annotated[int, Field(ge=1, strict=True)] = 12
    test: Annotated[int, Field(ge=1, strict=True)] = 16
    min_seconds: Positive = 25
    max_seconds: Positive = 30
    size: Annotated[int, Field(ge=96, le=1024, multiple_of=16, strict=True)] = 256
    emotions: Literal["direct", "interaction"] = "direct"

    @model_validator(mode="after")
    def _seconds(self) -> "RenderSettings":
        if self.min_seconds > self.max_seconds:
            raise section_fault("min_seconds", self.min_seconds, f"must be at most max_seconds ({self.max_seconds})")
        return self
