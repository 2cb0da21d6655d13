"""What a server lets its clients ask for."""

from dataclasses import dataclass

from avfusion.media.opener import DEFAULT_LIMITS, MediaLimits

FRAMES_PER_S = 120


@dataclass(frozen=True)
class Limits:
    """Bounds on what clients can make a server do; beyond them they get an error.

    Attributes:
        upload_bytes: size of a video.
        video_s: length of a video.
        waiting: videos that may be on their way in or wait for their turn.
        kept: results that are kept, the oldest goes first.
        kept_s: how long a result is kept.
        stall_s: how long an upload may send nothing.
        slowest: bytes per second that an upload must reach, after its first `stall_s`.
        inspection_s: how long reading a video's packets may take.
        job_base_s: how long the work on a video may take,
        job_s_per_s: and how much longer for each second of it.
    """

    upload_bytes: int = 500_000_000
    video_s: float = 30 * 60
    waiting: int = 16
    kept: int = 100
    kept_s: float = 3600
    stall_s: float = 30
    slowest: float = 32_000
    inspection_s: float = 60
    job_base_s: float = 300
    job_s_per_s: float = 30

    def media(self) -> MediaLimits:
        """What the opener of media lets a file ask for."""
        seconds = min(self.video_s, DEFAULT_LIMITS.duration_s)
        return MediaLimits(duration_s=seconds, frames=max(1, round(seconds * FRAMES_PER_S)))

    def job_s(self, duration_s: float) -> float:
        """How long the work on a video of this length may take."""
        return self.job_base_s + self.job_s_per_s * duration_s
