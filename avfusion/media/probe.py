"""Facts about a media file, without decoding it."""

import os
from dataclasses import dataclass

from avfusion.media.audio_track import timeline_with_sound
from avfusion.media.opener import DEFAULT_LIMITS, MediaLimits
from avfusion.media.timeline import Timeline


@dataclass(frozen=True)
class MediaInfo:
    """Facts about a video; times in seconds from its first frame.

    Attributes:
        duration_s: From the start of the first frame to the end of the last.
        width: Pixels as coded, before rotation.
        height: Pixels as coded, before rotation.
        audio_start_s: When audio starts (positive: later than the first frame), None without audio.
        damage: As in `Timeline`.
    """

    frames: int
    fps: float
    duration_s: float
    width: int
    height: int
    has_audio: bool
    audio_rate: int
    audio_channels: int
    audio_start_s: float | None
    audio_end_s: float | None
    warnings: tuple[str, ...]
    damage: str = ""


def probe(path: str | os.PathLike[str], limits: MediaLimits = DEFAULT_LIMITS) -> MediaInfo:
    """Describe a video by its packets."""
    return media_info(timeline_with_sound(path, limits))


def media_info(timeline: Timeline) -> MediaInfo:
    """Facts from a timeline."""
    return MediaInfo(
        frames=timeline.frames,
        fps=timeline.fps,
        duration_s=timeline.end_s,
        width=timeline.width,
        height=timeline.height,
        has_audio=timeline.audio_start_s is not None,
        audio_rate=timeline.audio_rate,
        audio_channels=timeline.audio_channels,
        audio_start_s=timeline.audio_start_s,
        audio_end_s=timeline.audio_end_s,
        warnings=timeline.warnings,
        damage=timeline.damage,
    )
