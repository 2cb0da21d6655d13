"""Time limits after which work on a media file counts as hung.

They are far above the needs of a slow, shared machine, since a file that is given up is lost. On one core, detecting
and cutting the faces of a second of video takes 0.2 s (720p at 30 fps, every fifth frame looked at) to 3 s (4K at 60
fps, every frame), and its sound 0.01 s.
"""

from avfusion.media.opener import DEFAULT_LIMITS

PROBE_LIMIT_S = DEFAULT_LIMITS.demux_deadline_s + 300  # reading packets has its own deadline; this is for a hung FFmpeg
DECODING_BASE_S = 1800.0
DECODING_S_PER_S = 60.0


def decoding_limit_s(duration_s: float) -> float:
    """Limit, in seconds, for all work on a video of this length: decoding, detection, writing."""
    return DECODING_BASE_S + DECODING_S_PER_S * duration_s
