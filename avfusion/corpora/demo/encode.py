"""H.264 and AAC in MP4: the same pictures and samples give the same bytes."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from avfusion.corpora.demo.plan import TICKS_PER_SECOND

_BLOCK = 1024
_X264 = {
    "preset": "superfast",
    "crf": "26",
    "threads": "1",
    "x264-params": "bframes=0:keyint=75:sliced-threads=0:threads=1",
}


class Muxer:
    """Writes pictures one by one, interleaved with audio up to the same time."""

    def __init__(self, container: "av.container.OutputContainer", width: int, height: int, fps: Fraction) -> None:
        self._container = container
        self._video = container.add_stream("libx264", rate=fps, options=_X264)
        self._video.width, self._video.height, self._video.pix_fmt = width, height, "yuv420p"
        self._video.codec_context.time_base = Fraction(1, TICKS_PER_SECOND)
        self._video.codec_context.flags |= av.codec.context.Flags.bitexact
        self._audio: av.AudioStream | None = None
        self._samples = np.zeros((1, 0), np.float32)
        self._written = 0
        self._start = 0

    def add_audio(self, samples: np.ndarray, rate: int, start_s: float) -> None:
        """Add an audio stream of `samples` (channels, N) in [-1, 1] that starts `start_s` after the video."""
        layout = "stereo" if len(samples) == 2 else "mono"
        stream = self._container.add_stream("aac", rate=rate, layout=layout)
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        stream.codec_context.bit_rate = 64000 * len(samples)
        stream.codec_context.options = {"aac_coder": "fast"}
        self._audio, self._samples = stream, np.ascontiguousarray(samples, np.float32)
        self._start = round(start_s * rate)

    def picture(self, frame: np.ndarray, tick: int, duration: int) -> None:
        """Write a picture (H, W, 3) uint8 BGR, shown from `tick` for `duration` ticks."""
        self._write_audio(tick / TICKS_PER_SECOND)
        planes = np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2YUV_I420), np.uint8)
        picture = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        picture.pts, picture.duration, picture.time_base = tick, duration, Fraction(1, TICKS_PER_SECOND)
        self._container.mux(self._video.encode(picture))

    def finish(self) -> None:
        """Write the rest and flush the encoders."""
        self._write_audio(float("inf"))
        self._container.mux(self._video.encode(None))
        if self._audio is not None:
            self._container.mux(self._audio.encode(None))

    def _write_audio(self, until_s: float) -> None:
        if self._audio is None:
            return
        rate = self._audio.codec_context.sample_rate
        while self._written < self._samples.shape[1] and (self._start + self._written) / rate <= until_s:
            block = np.ascontiguousarray(self._samples[:, self._written : self._written + _BLOCK])
            layout = "stereo" if len(block) == 2 else "mono"
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, self._start + self._written, Fraction(1, rate)
            self._container.mux(self._audio.encode(frame))
            self._written += block.shape[1]


@contextmanager
def mp4(path: Path, width: int, height: int, fps: Fraction) -> Iterator[Muxer]:
    """Open `path` for writing, without time stamps and library versions, so that equal input gives equal bytes."""
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact", "movflags": "+faststart"}) as container:
        muxer = Muxer(container, width, height, fps)
        yield muxer
        muxer.finish()
