"""Which sequences a fusion model reads from the rows of a track's features: clips, or windows of frames."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from avfusion.data.settings import GeometrySettings
from avfusion.fusion.catalogue import reads_frames
from avfusion.runtime.errors import BadInputError


@dataclass(frozen=True)
class Reading:
    """How a model's sequences are made of rows; a row lies at each tick of the features' stride.

    Attributes:
        length: rows of a sequence, L.
        spacing: ticks between neighbours in a sequence.
        hop: rows between the starts of windows; None: sequences of clips.
    """

    length: int
    spacing: int
    hop: int | None = None

    @property
    def words(self) -> str:
        """For people."""
        if self.hop is None:
            return f"sequences of {self.length} clips of {self.spacing} frames"
        frames, hop = self.length * self.spacing, self.hop * self.spacing
        apart = "every frame" if self.spacing == 1 else f"every {self.spacing} frames"
        return f"windows of {frames} frames, one every {hop} frames, with a vector {apart}"


def reading_of(
    name: str, options: Mapping[str, Any], geometry: GeometrySettings, stride: int, layout: str = "clips"
) -> Reading:
    """What a fusion model with these options reads: windows if the layout is `frames` and its class is of frame level.

    Raises:
        BadInputError: the stride of the features does not divide windows and hops.
    """
    if layout != "frames" or not reads_frames(name, options):
        return Reading(geometry.sequence_clips, geometry.clip_frames)
    for key in ("window_frames", "window_hop"):
        if getattr(geometry, key) % stride:
            must = f"must be a multiple of features.stride ({stride})"
            why = f"since {name} reads windows of frames (features.layout is frames)"
            raise BadInputError(f"geometry.{key} is {getattr(geometry, key)}: {must}, {why}")
    return Reading(geometry.window_frames // stride, stride, geometry.window_hop // stride)
