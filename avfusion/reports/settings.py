"""Settings of the room: scores and pictures, and the page reports/evaluate/report.html."""

from typing import Annotated

from pydantic import Field

from avfusion.runtime.settings import Section, Seed

Window = Annotated[float, Field(ge=0, le=60)]  # seconds of the uniform filter; 0: none


class EvaluateSettings(Section):
    """Scores and pictures."""

    smoothing_valence_s: Window = 0.667
    smoothing_arousal_s: Window = 1.667
    seed: Seed = 0
    released_protocol: bool = False
    ablate: bool = False
    trace_plots: Annotated[int, Field(ge=0, strict=True)] = 6

    @property
    def windows_s(self) -> tuple[float, float]:
        """Seconds of the filter for valence and arousal."""
        return self.smoothing_valence_s, self.smoothing_arousal_s


class ReportSettings(Section):
    """The page reports/evaluate/report.html."""

    thumbnails: bool = False
    worst_tracks: Annotated[int, Field(ge=0, strict=True)] = 3
    tracks: Annotated[int, Field(ge=0, strict=True)] = 3
