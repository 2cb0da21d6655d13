"""Whole pictures from interlaced ones, whose even and odd lines were recorded at different moments."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import groupby

import av
from av.filter import Graph

from avfusion.media.hevc_fields import FRAME, TOP, FieldRows

LEAST_WIDTH, LEAST_HEIGHT = 3, 4  # of pictures that the filter accepts


def deinterlaced(frames: Iterable[tuple[int, av.VideoFrame]]) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decoded frames in order, each with its index: interlaced ones deinterlaced (FFmpeg's bwdif), others untouched.

    Each frame gives one. Motion between the two fields of a frame is resolved in favour of the field shown first.
    """
    graph: Graph | None = None
    form: tuple[str, int, int] | None = None
    for index, frame in frames:
        if graph is None and not frame.interlaced_frame:
            yield index, frame
            continue
        found = frame.format.name, frame.width, frame.height
        if graph is None or found != form:
            yield from _rest(graph)
            graph, form = _graph(frame), found
        if graph is None:
            yield index, frame
            continue
        frame.pts, frame.time_base = index, Fraction(1)
        graph.push(frame)
        yield from _ready(graph)
    yield from _rest(graph)


def woven(pictures: Iterable[tuple[int, av.VideoFrame]], fields: FieldRows) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decoded pictures in order, each with its number, as frames with the number of their row.

    Two fields become an interlaced frame (FFmpeg's weave); one without its partner stands for both.
    """
    graph: Graph | None = None
    form: tuple[int, str, int, int] | None = None
    for row, group in groupby(pictures, key=lambda picture: int(fields.rows[picture[0]])):
        (number, first), *others = group
        kind = int(fields.kinds[number])
        if kind == FRAME:
            yield row, first
            continue
        last = others[0][1] if others else first
        found = kind, first.format.name, first.width, first.height
        if graph is None or found != form:
            graph, form = _filter(first, "weave", f"first_field={'top' if kind == TOP else 'bottom'}"), found
        if found[1:] != (last.format.name, last.width, last.height):
            last = first
        for field in (first, last):
            field.pts, field.time_base = 2 * row, Fraction(1)
            graph.push(field)
        for _, frame in _ready(graph):
            yield row, frame


def _graph(frame: av.VideoFrame) -> Graph | None:
    """A filter for pictures of this format and size; None if they are too small for it."""
    if frame.width < LEAST_WIDTH or frame.height < LEAST_HEIGHT:
        return None
    return _filter(frame, "bwdif", "mode=send_frame:deint=interlaced")


def _filter(frame: av.VideoFrame, name: str, options: str) -> Graph:
    """A graph of one filter for pictures of this format and size."""
    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1))
    graph.link_nodes(source, graph.add(name, options), graph.add("buffersink"))
    graph.configure()
    return graph


def _ready(graph: Graph) -> Iterator[tuple[int, av.VideoFrame]]:
    while True:
        try:
            frame = graph.pull()
        except (av.BlockingIOError, av.EOFError):  # it needs more input, or is exhausted
            return
        if isinstance(frame, av.VideoFrame) and frame.pts is not None and frame.time_base:
            yield round(frame.pts * frame.time_base), frame


def _rest(graph: Graph | None) -> Iterator[tuple[int, av.VideoFrame]]:
    """What the filter holds back for a following frame."""
    if graph is not None:
        graph.push(None)
        yield from _ready(graph)
