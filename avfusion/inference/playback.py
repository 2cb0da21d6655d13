"""Show a video frame by frame with its sound, in real time or as fast as its frames are processed.

Runs in a separate process, as all decoding; no frame needs later ones.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avfusion.data.frames import encode_crop
from avfusion.data.settings import FramesSettings
from avfusion.media.audio import aligned_audio
from avfusion.media.causal_faces import followed_face
from avfusion.media.face_tracks import FaceCrop
from avfusion.media.timeline import Timeline
from avfusion.media.wav import SAMPLE_RATE, pcm16


@dataclass(frozen=True)
class Moment:
    """One shown frame.

    Attributes:
        jpeg: the followed face's crop; None: no face.
        sound: (n,) int16, 44.1 kHz: the sound since the frame before, up to this frame's time (and one sample more, so
            that a clip of one frame has sound); empty without sound.
        shown_at: when the frame was due on the monotonic clock, in seconds.
    """

    frame: int
    time_s: float
    jpeg: bytes | None
    sound: np.ndarray
    shown_at: float
    sent_at: float


def play(
    path: str | Path, timeline: Timeline, settings: FramesSettings, realtime: bool, report: Callable[[Moment], None]
) -> tuple[str, ...]:
    """Report every frame of a video in order.

    Args:
        realtime: show each frame when due, late frames at once.

    Returns:
        Warnings about repairs while reading.

    Raises:
        BadInputError: the video cannot be read.
    """
    warnings = list(timeline.warnings)
    clock, tape = _Clock(realtime), _Tape(path, timeline, warnings.append)
    crops = (
        followed_face(
            path,
            timeline,
            detect_every=settings.detect_every,
            min_confidence=settings.min_confidence,
            min_face=settings.min_face,
            before=clock.wait,
            on_warning=warnings.append,
        )
        if timeline.has_pictures
        else _no_faces(timeline, clock)
    )
    for crop in crops:
        jpeg = None if crop.rgb is None else encode_crop(crop.rgb, settings.jpeg_quality)
        sound = tape.up_to(round(crop.time_s * SAMPLE_RATE) + 1)
        report(Moment(crop.frame, crop.time_s, jpeg, sound, clock.due(crop.time_s), time.monotonic()))
    return tuple(warnings)


def _no_faces(timeline: Timeline, clock: "_Clock") -> Iterator[FaceCrop]:
    for index, time_s in enumerate(timeline.times_s.tolist()):
        clock.wait(time_s)
        yield FaceCrop(index + 1, time_s, None, 0.0)


class _Clock:
    """The clock of the playback; it starts when the first frame is ready."""

    def __init__(self, realtime: bool) -> None:
        self._realtime = realtime
        self._started: float | None = None

    def wait(self, time_s: float) -> None:
        if self._started is None or not self._realtime:
            self._started = time.monotonic() - time_s
        time.sleep(max(0.0, self.due(time_s) - time.monotonic()))

    def due(self, time_s: float) -> float:
        return (time.monotonic() - time_s if self._started is None else self._started) + time_s


class _Tape:
    """The sound of a video, piece by piece."""

    def __init__(self, path: str | Path, timeline: Timeline, on_warning: Callable[[str], None]) -> None:
        heard = timeline.audio_start_s is not None
        self._blocks = aligned_audio(path, timeline, on_warning=on_warning) if heard else iter(())
        self._block: np.ndarray = np.zeros(0, np.float32)
        self._heard = 0

    def up_to(self, sample: int) -> np.ndarray:
        """The next samples, as 16-bit integers, up to the number `sample` counted from the first frame."""
        pieces = []
        while self._heard < sample:
            if not len(self._block):
                self._block = next(self._blocks, self._block)
                if not len(self._block):
                    break
            piece, self._block = np.split(self._block, [sample - self._heard])
            pieces.append(pcm16(piece))
            self._heard += len(piece)
        return np.concatenate(pieces) if pieces else np.zeros(0, np.int16)
