"""The disturbances of the robustness test: kinds, levels and streams."""

from dataclasses import dataclass
from typing import Literal

Stream = Literal["audio", "visual"]


@dataclass(frozen=True)
class Condition:
    """A disturbance at one level."""

    kind: str
    level: float

    @property
    def stream(self) -> Stream:
        """The disturbed stream."""
        return KINDS[self.kind].stream

    @property
    def name(self) -> str:
        """Unique name, used everywhere."""
        return f"{self.kind} {self.level:g}"


@dataclass(frozen=True)
class Kind:
    """A kind of disturbance.

    Attributes:
        title, unit: shown to people.
        stream: the disturbed stream; only its features are extracted again.
        levels: ascending in severity (shifts: from early to late).
        clean: name of the level without disturbance.
    """

    title: str
    unit: str
    stream: Stream
    levels: tuple[float, ...]
    clean: str


_DECIBELS = (20.0, 10.0, 5.0, 0.0, -5.0)
_SHARES = (0.25, 0.5, 0.75, 1.0)
_SHIFTS = (-4.0, -2.0, -1.0, -0.5, -0.25, 0.25, 0.5, 1.0, 2.0, 4.0)
KINDS = {
    "audio_absent": Kind("audio absent", "share of clips", "audio", _SHARES, "0"),
    "face_absent": Kind("face absent", "share of clips", "visual", _SHARES, "0"),
    "white_noise": Kind("white noise", "SNR (dB)", "audio", _DECIBELS, "clean"),
    "babble": Kind("babble", "SNR (dB)", "audio", _DECIBELS, "clean"),
    "audio_shift": Kind("audio late by", "seconds", "audio", _SHIFTS, "0"),
    "occlusion": Kind("face occluded", "share of the crop", "visual", (0.1, 0.25, 0.5), "0"),
    "blur": Kind("face blurred", "sigma (pixels)", "visual", (1.0, 2.0, 4.0), "0"),
}
MASKED = ("audio_absent", "face_absent")  # these change presence; the others sound and crops
CONDITIONS = tuple(Condition(kind, level) for kind, entry in KINDS.items() for level in entry.levels)
