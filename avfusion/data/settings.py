"""Settings of the room: clips in time, face crops, aligned sound."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from avfusion.runtime.settings import Count, Fraction, Positive, Section, divisors, section_fault


class GeometrySettings(Section):
    """Clips and sequences in time (SCIENCE: 32-frame clips, 16 clips a sequence), and windows of frames."""

    clip_frames: Count = 32
    kept_frames: Count = 8
    sequence_clips: Count = 16
    window_frames: Count = 300
    window_hop: Count = 200
    fps: Positive | None = None
    target_offset: Annotated[int, Field(ge=-512, le=512, strict=True)] = 0

    @model_validator(mode="after")
    def _kept(self) -> "GeometrySettings":
        if self.clip_frames % self.kept_frames:
            allowed = ", ".join(map(str, divisors(self.clip_frames)))
            message = f"must be a divisor of clip_frames ({allowed})"
            raise section_fault("kept_frames", self.kept_frames, message)
        return self

    @model_validator(mode="after")
    def _windows(self) -> "GeometrySettings":
        if self.window_hop > self.window_frames:
            message = (
                f"must be at most window_frames ({self.window_frames}), or frames between windows have no prediction"
            )
            raise section_fault("window_hop", self.window_hop, message)
        return self


MIN_FACES = (12, 640)


class FramesSettings(Section):
    """Face crops per video frame."""

    detect_every: Count = 5
    min_confidence: Fraction = 0.9
    min_face: Annotated[int, Field(ge=MIN_FACES[0], le=MIN_FACES[1], strict=True)] = 40
    jpeg_quality: Annotated[int, Field(ge=1, le=100, strict=True)] = 95
    contact_sheets: bool = True


class AudioSettings(Section):
    """Aligned audio and its spectrogram."""

    sample_rate: Literal[44100] = 44100
    window_s: Positive | None = None
