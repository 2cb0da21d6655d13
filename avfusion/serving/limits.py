"""Limits for a server's clients."""

from dataclasses import dataclass

from avfusion.media.opener import DEFAULT_LIMITS, MediaLimits

FRAMES_PER_S = 120


@dataclass(frozen=True)
class Limits:
    """Limits beyond which clients get an error.

    Attributes:
        waiting: greatest number of incoming and waiting videos.
        kept: number of results kept; the oldest is removed first.
        stall_s: longest pause of an upload.
        slowest: least rate of an upload in bytes per second, after its first `stall_s`.
        inspection_s: time limit for reading a video's packets.
        job_base_s: time limit for the work on a video,
        job_s_per_s: plus this for each second of it.
    """

    upload_bytes: int = 500_000_000
    video_s: float = 30 * 60
    waiting: int = 16
    kept: int = 100
    kept_s: float = 3600
    stall_s: float = 30
    slowest: float = 32_000
    inspection_s: float = 10
    job_base_s: float = 300
    job_s_per_s: float = 30

    def media(self) -> MediaLimits:
        """Limits for the opener of media."""
        seconds = min(self.video_s, DEFAULT_LIMITS.duration_s)
        return MediaLimits(duration_s=seconds, frames=max(1, round(seconds * FRAMES_PER_S)))

    def job_s(self, duration_s: float) -> float:
        """Time limit for the work on a video of this length."""
        return self.job_base_s + self.job_s_per_s * duration_s
