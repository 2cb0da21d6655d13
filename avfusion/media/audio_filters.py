"""Decoded frames of an audio stream, and the filters that turn them into blocks of samples."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import av
import numpy as np
from av.audio.layout import AudioLayout
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.filter import Graph

from avfusion.media.opener import demux, is_end_mark, skip_other_streams

HUM_HZ = 300  # speech is above, as the telephone knows; mains hum, rumble and offsets are below
FRAMES_PER_PULL = 32  # asking the filters costs as much as filtering a frame


class SoundFormat(NamedTuple):
    """What filters must know of their input."""

    sample_format: str
    layout: str
    rate: int


def audio_frames(
    container: InputContainer, index: int, *, on_lost: Callable[[], None] | None = None
) -> Iterator[av.AudioFrame]:
    """The frames that can be decoded of the stream with this index in the file; none without a decoder.

    Args:
        on_lost: Called for each packet that cannot be decoded.
    """
    stream = container.streams[index]
    if not isinstance(stream, AudioStream) or stream.codec_context is None:
        return
    skip_other_streams(container, stream)
    for packet in demux(container, stream):
        if not packet.size and not is_end_mark(packet):  # it would end the decoder
            continue
        try:
            frames = packet.decode()
        except av.FFmpegError:  # damaged, or a feature that the decoder lacks: the picture is not to blame
            if on_lost:
                on_lost()
            continue
        for frame in frames:
            if isinstance(frame, av.AudioFrame) and frame.samples and frame.sample_rate:
                yield frame


def format_of(frame: av.AudioFrame) -> SoundFormat:
    """The format of a frame."""
    return SoundFormat(frame.format.name, frame.layout.name, frame.sample_rate)


def block_filters(
    source: SoundFormat,
    block: int,
    *,
    mix: Sequence[str] | None = None,
    rate: int | None = None,
    lowest_hz: int | None = None,
) -> Graph:
    """Filters from a source to blocks of `block` samples of float.

    Args:
        mix: Channels of the output, one or two, each as an expression of FFmpeg's filter `pan` (`0.5*c0+0.5*c1`); None:
            the channels of the source. They are mixed before resampling, so that fewer channels are resampled.
        rate: Rate of the output; None: that of the source.
        lowest_hz: Filter out what is lower.
    """
    graph = Graph()
    nodes = [
        graph.add(
            "abuffer", sample_fmt=source.sample_format, channel_layout=source.layout, sample_rate=str(source.rate)
        ),
        graph.add("aformat", sample_fmts="fltp"),
    ]
    if mix is not None:
        layout = "mono" if len(mix) == 1 else "stereo"
        nodes.append(graph.add("pan", "|".join([layout, *(f"c{index}={sum_}" for index, sum_ in enumerate(mix))])))
    if rate is not None and rate != source.rate:
        nodes.append(graph.add("aresample", str(rate)))
    if lowest_hz is not None and source.rate > 2 * lowest_hz:
        nodes.append(graph.add("highpass", f"f={lowest_hz}"))
    nodes.append(graph.add("asetnsamples", n=str(block), p="0"))
    if mix is None:  # PyAV reads beyond the planes of a frame of eight
        nodes.append(graph.add("aformat", sample_fmts="flt"))
    nodes.append(graph.add("abuffersink"))
    graph.link_nodes(*nodes)
    graph.configure()
    return graph


def filtered_blocks(graph: Graph) -> Iterator[np.ndarray]:
    """The blocks (channels, n) that are ready, float32 in [-1, 1]; what is not a number is 0."""
    while True:
        try:
            frame = graph.pull()
        except (av.BlockingIOError, av.EOFError):  # it needs more input, or is exhausted
            return
        assert isinstance(frame, av.AudioFrame)
        planes: np.ndarray = frame.to_ndarray()
        if frame.format.is_packed:
            planes = np.ascontiguousarray(planes.reshape(-1, frame.layout.nb_channels).T)
        np.clip(planes, -1.0, 1.0, out=planes)
        if np.isnan(planes.sum()):
            planes[np.isnan(planes)] = 0.0
        yield planes


def audio_windows(container: InputContainer, index: int, seconds: float) -> Iterator[tuple[AudioLayout, np.ndarray]]:
    """All channels of a stream in windows (C, n) of so many seconds, each with its channel layout; without hum.

    A window is shorter where the format changes, and at the end.
    """
    source: SoundFormat | None = None
    graph: Graph | None = None
    layout: AudioLayout | None = None
    for count, frame in enumerate(chain(audio_frames(container, index), [None])):
        if frame is None or format_of(frame) != source:
            if graph is not None and layout is not None:
                graph.push(None)
                yield from ((layout, window) for window in filtered_blocks(graph))
            if frame is None:
                return
            source, layout = format_of(frame), frame.layout
            graph = block_filters(source, max(1, round(seconds * source.rate)), lowest_hz=HUM_HZ)
        assert graph is not None
        assert layout is not None
        frame.pts = None
        graph.push(frame)
        if count % FRAMES_PER_PULL == FRAMES_PER_PULL - 1:
            yield from ((layout, window) for window in filtered_blocks(graph))
