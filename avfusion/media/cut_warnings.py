"""Where a track was cut, in words for people, which the contact sheet reads again."""

import re
from collections.abc import Sequence

from avfusion.media.association import FaceTrack

MOST = 20  # times in a warning

_ONE_MOMENT_S = 1.0
_REASONS = {"unclear": "unclear who is who", "scene": "the picture changes as a whole"}
_WORDS = re.compile(r"^track cut (?:once|\d+ times) \(([^)]*)\), at ([\d., ]+) s")


def cut_warnings(stretches: Sequence[FaceTrack]) -> list[str]:
    """A warning per reason for which stretches of one person, in order of time, were cut."""
    return [_warning(times, reason) for end, reason in _REASONS.items() if (times := _moments(stretches, end))]


def cut_times(warnings: Sequence[str]) -> list[float]:
    """The times in seconds, ascending, of the cuts that some warnings name; others are passed over."""
    found = [match[2] for text in warnings if (match := _WORDS.match(text))]
    return sorted(float(time) for times in found for time in times.split(", "))


def _moments(stretches: Sequence[FaceTrack], end: str) -> list[float]:
    """When stretches ended for that reason, and at a change of scene only where somebody is followed at once."""
    begin = {track.times_s[0] for track in stretches}
    times = sorted(t.end_s for t in stretches if t.end == end and (end != "scene" or t.end_s in begin))
    return [
        time for before, time in zip([-_ONE_MOMENT_S, *times], times, strict=False) if time - before >= _ONE_MOMENT_S
    ]


def _warning(times: Sequence[float], reason: str) -> str:
    often = "once" if len(times) == 1 else f"{len(times)} times"
    named = ", ".join(f"{time:.1f}" for time in times[:MOST])
    return f"track cut {often} ({reason}), at {named} s" + (" and later" if len(times) > MOST else "")
