"""Cuts of a person's track: their times, and warnings in words."""

from collections.abc import Sequence

from avfusion.media.association import FaceTrack
from avfusion.runtime.quantities import often

MOST = 20  # times named in a warning

_ONE_MOMENT_S = 1.0
_REASONS = {"unclear": "unclear who is who", "scene": "the picture changes as a whole"}


def cut_warnings(stretches: Sequence[FaceTrack], whose: str = "") -> list[str]:
    """One warning per reason why stretches of one person, in order of time, were cut; `whose`: "person 2"."""
    track = f"track of {whose}" if whose else "track"
    return [
        f"{track} cut {often(len(times))} ({reason}), at {in_words(times)}"
        for end, reason in _REASONS.items()
        if (times := _moments(stretches, end))
    ]


def cut_times(stretches: Sequence[FaceTrack]) -> list[float]:
    """Times at which stretches of one person, in order of time, were cut, in seconds, ascending."""
    return sorted(time for end in _REASONS for time in _moments(stretches, end))


def _moments(stretches: Sequence[FaceTrack], end: str) -> list[float]:
    """When stretches ended for this reason; at a change of scene only where another stretch follows at once."""
    begin = {track.indices[0] for track in stretches}
    times = sorted(t.end_s for t in stretches if t.end == end and (end != "scene" or t.end_index in begin))
    return [
        time for before, time in zip([-_ONE_MOMENT_S, *times], times, strict=False) if time - before >= _ONE_MOMENT_S
    ]


def in_words(times: Sequence[float]) -> str:
    """Times in seconds, the first ones if there are many."""
    return ", ".join(f"{time:.1f}" for time in times[:MOST]) + (" s and later" if len(times) > MOST else " s")
