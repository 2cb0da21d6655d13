"""Pictures, sound or both into an MP4 that browsers play: H.264, yuv420p, AAC, its index at the beginning."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from typing import BinaryIO

import av
import numpy as np
from av.audio.stream import AudioStream
from av.codec.context import Flags
from av.container import OutputContainer
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from avfusion.media.wav import SAMPLE_RATE

TICKS = 90_000  # per second: whole numbers at 24, 25, 29.97, 30, 50 and 60 fps
KEYFRAME_S = 2  # seeking in a browser starts at one
# No B-frames: MP4 keeps durations in decoding order, so with them the last picture would get another's duration.
_X264 = {"preset": "veryfast", "crf": "21", "bf": "0"}
_AUDIO_BITS_PER_CHANNEL = 80_000
_LAYOUTS = {1: "mono", 2: "stereo"}


class Mp4Writer:
    """Writes pictures at any times, and sound from time 0 on, piece by piece."""

    def __init__(self, container: OutputContainer, size: tuple[int, int], fps: float, channels: int) -> None:
        """Add the streams.

        Args:
            size: Width and height, even.
            channels: Of the sound: 1, 2, or 0 for none.
        """
        rate = Fraction(fps).limit_denominator(1001)
        gap = str(max(1, round(KEYFRAME_S * fps)))
        video = container.add_stream("libx264", rate=rate or Fraction(1), options=_X264 | {"g": gap})
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        video.codec_context.time_base = Fraction(1, TICKS)
        video.codec_context.flags |= Flags.frame_duration  # else the last picture lasts as long as the one before
        video.codec_context.colorspace, video.codec_context.color_range = Colorspace.ITU709, ColorRange.MPEG
        video.codec_context.color_primaries, video.codec_context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        self._container, self._video = container, video
        self._audio: AudioStream | None = None
        if channels:
            self._audio = container.add_stream("aac", rate=SAMPLE_RATE, layout=_LAYOUTS[channels])
            self._audio.codec_context.bit_rate = _AUDIO_BITS_PER_CHANNEL * channels
        self._samples = 0
        self._tick = -1

    @property
    def sound_s(self) -> float:
        """End of the sound written so far, in seconds."""
        return self._samples / SAMPLE_RATE

    def picture(self, rgb: np.ndarray, time_s: float, duration_s: float) -> None:
        """Write an (H, W, 3) uint8 RGB picture, later than the one before."""
        frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        self._tick = max(round(time_s * TICKS), self._tick + 1)
        frame.pts, frame.time_base = self._tick, Fraction(1, TICKS)
        frame.duration = max(1, round(duration_s * TICKS))
        self._container.mux(self._video.encode(frame))

    def sound(self, samples: np.ndarray) -> None:
        """Write (channels, n) float32 in [-1, 1] at 44.1 kHz, following the samples before."""
        assert self._audio is not None
        layout = _LAYOUTS[len(samples)]
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "fltp", layout)
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, self._samples, Fraction(1, SAMPLE_RATE)
        self._samples += samples.shape[1]
        self._container.mux(self._audio.encode(frame))

    def finish(self) -> None:
        """Flush the encoders."""
        self._container.mux(self._video.encode(None))
        if self._audio is not None:
            self._container.mux(self._audio.encode(None))


@contextmanager
def mp4_writer(
    path: str | os.PathLike[str],
    size: tuple[int, int],
    *,
    fps: float,
    channels: int,
    metadata: Mapping[str, str] | None = None,
) -> Iterator[Mp4Writer]:
    """Open `path` for writing; it is a whole MP4 when the block ends without an error.

    Args:
        path: The file (a temporary path of the caller: it is not written atomically here).
        size: Width and height, even.
        channels: Of the sound: 1, 2, or 0 for none.
        metadata: Texts kept in the file, by MP4's keys (`title`, `comment`, …).
    """
    with av.open(os.fspath(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        container.metadata.update(metadata or {})
        writer = Mp4Writer(container, size, fps, channels)
        yield writer
        writer.finish()


def write_sound(file: BinaryIO, blocks: Iterable[np.ndarray]) -> None:
    """Write blocks (n,) of mono float32 in [-1, 1] at 44.1 kHz as AAC in MP4."""
    with av.open(file, "w", format="mp4") as container:
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        audio.codec_context.bit_rate = _AUDIO_BITS_PER_CHANNEL
        samples = 0
        for block in blocks:
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block[None]), "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, samples, Fraction(1, SAMPLE_RATE)
            samples += len(block)
            container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
