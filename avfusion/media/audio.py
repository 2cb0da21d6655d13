"""Audio on the clock of the video: mono, 44.1 kHz, sample 0 at the time of the first frame."""

import os
from collections.abc import Iterator

import av
import numpy as np
from av.container import InputContainer
from av.filter import Graph

from avfusion.media.opener import audio_stream, demux, open_media, skip_other_streams
from avfusion.media.timeline import Timeline, read_timeline
from avfusion.media.timestamps import JoinedClock
from avfusion.media.wav import SAMPLE_RATE
from avfusion.runtime.errors import BadInputError

JUMP_S = 0.015  # stamps rounded to a millisecond jitter by less; a lost packet of a speech codec takes 20 ms
BLOCK_SAMPLES = 1 << 16
MOST_CHANNELS = 64  # the most that FFmpeg's filters accept
_FRAMES_PER_PULL = 32  # asking the filters costs as much as filtering a frame


def read_aligned_audio(path: str | os.PathLike[str], *, timeline: Timeline | None = None) -> np.ndarray | None:
    """Decode the audio of a video, (n,) float32 in [-1, 1], as `aligned_audio` gives it; None without a stream."""
    timeline = timeline or read_timeline(path)
    if timeline.audio_start_s is None:
        return None
    samples = np.empty(_last_sample(timeline), np.float32)
    end = 0
    for block in aligned_audio(path, timeline):
        samples[end : end + len(block)] = block
        end += len(block)
    return samples[:end]


def aligned_audio(path: str | os.PathLike[str], timeline: Timeline, *, stereo: bool = False) -> Iterator[np.ndarray]:
    """Decode the audio of a video block by block, float32 in [-1, 1], mono, 44.1 kHz, each following the one before.

    The first sample is at the time of frame 1: audio before that is cut, a late start or a gap is filled with zeros.
    The blocks end with the audio, at the latest with the last frame, so they may be shorter than the video together;
    without decodable audio there are none. Where two pieces of audio overlap in time, the one decoded first is kept and
    the other loses its beginning. Channels are averaged. Silence counts as audio.

    A block is (n,), or with `stereo` (2, n): two channels are kept, any other number is averaged into both.

    Raises:
        BadInputError: the file cannot be read as media, or has more than 64 channels of audio.
    """
    last = _last_sample(timeline)
    end = 0
    for start, samples in _pieces(path, timeline, 2 if stereo else 1):
        kept = samples[..., max(0, end - start) : max(0, last - start)]
        if kept.size:
            while end < start:
                yield np.zeros((*kept.shape[:-1], min(start - end, BLOCK_SAMPLES)), np.float32)
                end += min(start - end, BLOCK_SAMPLES)
            yield kept
            end += kept.shape[-1]
        if end >= last:
            return


def _last_sample(timeline: Timeline) -> int:
    return max(0, round(timeline.end_s * SAMPLE_RATE))


class _Run:
    """Audio of one format without a jump, through one resampler.

    Attributes:
        source: Sample format, channel layout and rate of the input.
    """

    def __init__(self, source: tuple[str, str, int], channels: int, start_s: float, wanted: int) -> None:
        self.source = source
        self._start_s = start_s
        self._read = 0
        self._written = round(start_s * SAMPLE_RATE)
        self._waiting = 0
        self._graph = _graph(source, channels, wanted)

    @property
    def read_s(self) -> float:
        """End of what has been read, in seconds from the first video frame."""
        return self._start_s + self._read / self.source[2]

    def push(self, frame: av.AudioFrame) -> bool:
        """Add a frame; return whether to pull now."""
        self._read += frame.samples
        frame.pts = None  # samples are counted here; rounded stamps would make the resampler's own count wander
        self._graph.push(frame)
        self._waiting += 1
        return self._waiting >= _FRAMES_PER_PULL

    def pull(self, end: bool = False) -> Iterator[tuple[int, np.ndarray]]:
        """Pieces that are ready (at the end: all that is left), each with the number of its first sample."""
        if end:
            self._graph.push(None)
        self._waiting = 0
        while True:
            try:
                piece = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):  # it needs more input, or is exhausted
                return
            planes = piece.to_ndarray()
            samples = planes if len(planes) > 1 else planes[0]
            np.clip(samples, -1.0, 1.0, out=samples)
            if np.isnan(samples.sum()):
                samples[np.isnan(samples)] = 0.0
            yield self._written, samples
            self._written += samples.shape[-1]


def _graph(source: tuple[str, str, int], channels: int, wanted: int) -> Graph:
    """Filters from a source to blocks of one or two channels of float at 44.1 kHz.

    The channels are averaged: FFmpeg's own downmix of floats adds 3 dB and clips. Averaged before resampling, one
    channel is resampled instead of all.
    """
    sample_format, layout, rate = source
    graph = Graph()
    nodes = [
        graph.add("abuffer", sample_fmt=sample_format, channel_layout=layout, sample_rate=str(rate)),
        graph.add("aformat", sample_fmts="fltp"),
    ]
    if channels != wanted:
        mean = "+".join(f"{1 / channels!r}*c{index}" for index in range(channels))
        layout = "mono" if wanted == 1 else "stereo"
        nodes.append(graph.add("pan", "|".join([layout, *(f"c{index}={mean}" for index in range(wanted))])))
    if rate != SAMPLE_RATE:
        nodes.append(graph.add("aresample", str(SAMPLE_RATE)))
    nodes += [graph.add("asetnsamples", n=str(BLOCK_SAMPLES), p="0"), graph.add("abuffersink")]
    graph.link_nodes(*nodes)
    graph.configure()
    return graph


def _pieces(path: str | os.PathLike[str], timeline: Timeline, channels: int) -> Iterator[tuple[int, np.ndarray]]:
    """Pieces of audio, 1 or 2 channels, each with the number of its first sample, counted from the first frame."""
    clock = JoinedClock(timeline.clock_shifts_s)
    run: _Run | None = None
    with open_media(path) as container:
        for frame in _frames(container):
            source, time_s = (frame.format.name, frame.layout.name, frame.sample_rate), frame.time
            start_s = None if time_s is None else clock.joined(time_s) - timeline.origin_s
            jumps = run is not None and start_s is not None and abs(start_s - run.read_s) > JUMP_S
            if run is None or jumps or run.source != source:
                if run is not None:
                    yield from run.pull(end=True)
                begin_s = start_s if start_s is not None else (run.read_s if run else -timeline.origin_s)
                found = frame.layout.nb_channels
                if found > MOST_CHANNELS:
                    raise BadInputError(
                        f"{path} has {found} channels of audio, must be at most {MOST_CHANNELS}: mix it"
                    )
                run = _Run(source, found, begin_s, channels)
            if run.push(frame):
                yield from run.pull()
        if run is not None:
            yield from run.pull(end=True)


def _frames(container: InputContainer) -> Iterator[av.AudioFrame]:
    stream = audio_stream(container)
    if stream is None or stream.codec_context is None:
        return
    skip_other_streams(container, stream)
    for packet in demux(container, stream):
        try:
            frames = packet.decode()
        except av.FFmpegError:  # damaged, or a feature that the decoder lacks: the picture is not to blame
            continue  # a hole: the next frame's stamp is ahead, and zeros fill it
        for frame in frames:
            if isinstance(frame, av.AudioFrame) and frame.samples and frame.sample_rate:
                yield frame
