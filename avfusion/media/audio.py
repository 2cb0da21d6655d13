"""Audio on the clock of the video: mono, 44.1 kHz, sample 0 at the time of the first frame."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np
from av.audio.resampler import AudioResampler

from avfusion.media.opener import audio_stream, demux, open_media
from avfusion.media.timeline import Timeline, read_timeline
from avfusion.media.wav import SAMPLE_RATE

JUMP_S = 0.02  # stamps rounded to a millisecond jitter by less; a larger step is a gap or an overlap


def read_aligned_audio(path: str | os.PathLike[str], *, timeline: Timeline | None = None) -> np.ndarray | None:
    """Decode the audio of a video, (n,) float32 in [-1, 1], mono, 44.1 kHz, sample 0 at the time of frame 1.

    Audio before the first frame is cut, a late start or a gap is filled with zeros. It ends with the audio, at the
    latest with the last frame (`n` may be less than the video's length, 0 where nothing can be decoded). Channels
    are averaged. Silence is audio; a video without an audio stream gives None.

    Raises:
        BadInputError: as `avfusion.media.timeline.read_timeline`.
    """
    timeline = timeline or read_timeline(path)
    if timeline.audio_start_s is None:
        return None
    aligned = np.zeros(max(0, round(timeline.end_s * SAMPLE_RATE)), np.float32)
    end = 0
    for start_s, samples in _contiguous_runs(path):
        start = round((start_s - timeline.origin_s) * SAMPLE_RATE)
        skip = max(0, -start)
        kept = samples[skip : max(skip, len(aligned) - start)]
        aligned[start + skip : start + skip + len(kept)] = kept
        end = max(end, start + skip + len(kept)) if len(kept) else end
    return np.clip(np.nan_to_num(aligned[:end]), -1.0, 1.0)


@dataclass
class _Run:
    """One resampler from a start until the audio jumps or changes its format."""

    source: tuple[str, str, int]
    read_s: float  # up to where the source has been read
    written_s: float = field(init=False)
    resampler: AudioResampler = field(init=False)

    def __post_init__(self) -> None:
        self.written_s = self.read_s
        self.resampler = AudioResampler("flt", self.source[1], SAMPLE_RATE)

    def resampled(self, frame: av.AudioFrame | None) -> Iterator[tuple[float, np.ndarray]]:
        """Mono pieces that the resampler gives for a frame, or for its end (None), each with its start."""
        if frame is not None:
            self.read_s += frame.samples / frame.sample_rate
            frame.pts = None  # samples are counted here; rounded stamps would make the resampler's own count wander
        for piece in self.resampler.resample(frame):
            # The channels are averaged here: FFmpeg's own downmix of floats adds 3 dB and clips.
            # Interleaved: PyAV 18 crashes over the planes of eight channels and more.
            samples = piece.to_ndarray().reshape(-1, piece.layout.nb_channels).mean(axis=1, dtype=np.float32)
            yield self.written_s, samples
            self.written_s += len(samples) / SAMPLE_RATE


def _contiguous_runs(path: str | os.PathLike[str]) -> Iterator[tuple[float, np.ndarray]]:
    """Pieces of mono audio with their start on the container's clock."""
    run: _Run | None = None
    for frame in _frames(path):
        source = (frame.format.name, frame.layout.name, frame.sample_rate)
        start_s = float(frame.pts * Fraction(frame.time_base)) if frame.pts is not None and frame.time_base else None
        jumps = run is not None and start_s is not None and abs(start_s - run.read_s) > JUMP_S
        if run is None or run.source != source or jumps:
            if run is not None:
                yield from run.resampled(None)
            run = _Run(source, start_s if start_s is not None else (run.read_s if run else 0.0))
        yield from run.resampled(frame)
    if run is not None:
        yield from run.resampled(None)


def _frames(path: str | os.PathLike[str]) -> Iterator[av.AudioFrame]:
    with open_media(path) as container:
        stream = audio_stream(container)
        if stream is None or stream.codec_context is None:
            return
        for packet in demux(container, stream):
            try:
                frames = packet.decode()
            except av.FFmpegError:  # damaged, or a feature that the decoder lacks: the picture is not to blame
                continue  # a hole: the next frame's stamp is ahead, and zeros fill it
            for frame in frames:
                if isinstance(frame, av.AudioFrame) and frame.samples and frame.sample_rate:
                    yield frame
