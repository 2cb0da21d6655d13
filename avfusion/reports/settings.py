"""Settings of the room: scores and pictures, and the page reports/evaluate/report.html."""

from typing import Annotated

from pydantic import Field

from avfusion.runtime.settings import Count, Section, Seed


class EvaluateSettings(Section):
    """Scores and pictures."""

    smoothing_valence: Count = 20
    smoothing_arousal: Count = 50
    seed: Seed = 0
    released_protocol: bool = False
    ablate: bool = False
    trace_plots: Annotated[int, Field(ge=0, strict=True)] = 6


class ReportSettings(Section):
    """The page reports/evaluate/report.html."""

    thumbnails: bool = False
    worst_tracks: Annotated[int, Field(ge=0, strict=True)] = 3
    tracks: Annotated[int, Field(ge=0, strict=True)] = 3
