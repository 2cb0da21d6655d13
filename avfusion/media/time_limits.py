"""How long reading a media file may take before it counts as hung.

Far above what a slow and shared machine needs, since a file that is given up is lost: on one core, detecting and
cutting the faces of a second of video takes 0.2 s (720p at 30 fps, every fifth frame looked at) to 3 s (4K at 60 fps,
every frame), and its sound 0.01 s. The limits only end what would otherwise stand for ever.
"""

from avfusion.media.opener import DEFAULT_LIMITS

PROBE_LIMIT_S = DEFAULT_LIMITS.demux_deadline_s + 300  # reading packets ends by itself, unless FFmpeg hangs
DECODING_BASE_S = 1800.0
DECODING_S_PER_S = 60.0


def decoding_limit_s(duration_s: float) -> float:
    """Seconds that all of the work on a video of this length may take: decoding, detection, writing."""
    return DECODING_BASE_S + DECODING_S_PER_S * duration_s
