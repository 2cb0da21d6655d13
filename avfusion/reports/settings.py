"""Settings of the room: the page reports/evaluate/report.html."""

from typing import Annotated

from pydantic import Field

from avfusion.runtime.settings import Section


class ReportSettings(Section):
    """The page reports/evaluate/report.html."""

    thumbnails: bool = False
    worst_tracks: Annotated[int, Field(ge=0, strict=True)] = 3
    tracks: Annotated[int, Field(ge=0, strict=True)] = 3
