"""Decoded frames of a video, one at a time, each with its time."""

import os
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from avfusion.media.deinterlacing import deinterlaced, woven
from avfusion.media.opener import (
    DEFAULT_LIMITS,
    demux,
    is_end_mark,
    only_decoding_stamps,
    open_media,
    pixel_aspect,
    video_stream,
)
from avfusion.media.picture import PictureMaker
from avfusion.media.timeline import Timeline, read_timeline
from avfusion.runtime.errors import BadInputError


@dataclass(frozen=True)
class VideoFrame:
    """One frame: its 0-based index, its time in seconds from the first frame, and its picture as it is shown.

    The picture is (H, W, 3) uint8 RGB, upright, with square pixels: for other pixels it keeps its coded height, and its
    width is scaled.
    """

    index0: int
    time_s: float
    rgb: np.ndarray


def frame_times(path: str | os.PathLike[str]) -> np.ndarray:
    """Presentation time of every frame in seconds, (N,) float64, strictly increasing, 0 at the first."""
    return read_timeline(path).times_s


def read_video(
    path: str | os.PathLike[str],
    *,
    timeline: Timeline | None = None,
    wanted: Callable[[int], bool] | None = None,
    on_warning: Callable[[str], None] | None = None,
    least_decoded: float = 0.0,
) -> Iterator[VideoFrame]:
    """Decode a video frame by frame; memory stays flat.

    Frames keep the index of their packet in presentation order, so a frame that cannot be decoded leaves a gap and
    shifts no other.

    Args:
        wanted: Whether the frame of an index is converted to RGB and yielded; default: all.
        on_warning: Called at the end with a warning if frames cannot be decoded.
        least_decoded: Least share of frames that must be decodable.

    Raises:
        BadInputError: as `read_timeline`; fewer frames can be decoded than required.
    """
    timeline = timeline or read_timeline(path)
    decoded = 0
    with open_media(path) as container:
        stream = video_stream(container, path)
        maker = PictureMaker(stream, pixel_aspect(stream))
        pictures = _indexed(container, stream, timeline)
        for index, frame in deinterlaced(woven(pictures, timeline.fields) if timeline.fields else pictures):
            decoded += 1
            if wanted is None or wanted(index):
                yield VideoFrame(index, float(timeline.times_s[index]), maker.picture(frame))
    if decoded < least_decoded * timeline.frames:
        raise BadInputError(f"{path} is damaged: only {decoded} of its {timeline.frames} frames can be decoded")
    if decoded < timeline.frames and on_warning:
        on_warning(f"{timeline.frames - decoded} of {timeline.frames} frames cannot be decoded")


def _indexed(container: InputContainer, stream: VideoStream, timeline: Timeline) -> Iterator[tuple[int, av.VideoFrame]]:
    """Each decoded picture with its index in presentation order."""
    stamps, steady = timeline.stamps, only_decoding_stamps(container, stream)
    lost: list[int] = []  # stamps of packets that cannot be decoded, ascending
    before: tuple[int, av.VideoFrame] | None = None
    for order, frame in enumerate(_decode(container, stream, lost)):
        following = before[0] + 1 if before else 0
        if stamps is not None:
            index = _index_of(frame.pts, stamps, following)
        else:  # frames follow each other; the clock of an AVI tells where some are lost
            index = order + (bisect_left(lost, frame.pts) if steady and frame.pts is not None else 0)
        if not following <= index < timeline.pictures:  # a frame given twice, or one without a packet
            continue
        if before:
            yield from _repeated(before[1], range(following, index), stream, stamps, lost)
        before = index, frame
        yield before
    if before:
        yield from _repeated(before[1], range(before[0] + 1, timeline.pictures), stream, stamps, lost)


def _repeated(
    frame: av.VideoFrame, missing: range, stream: VideoStream, stamps: np.ndarray | None, lost: list[int]
) -> Iterator[tuple[int, av.VideoFrame]]:
    """The frame again, for each that MPEG-4 codes as its repetition ("not coded"), of which decoders give nothing."""
    if stamps is not None and stream.codec_context.name == "mpeg4":
        for index in missing:
            if bisect_left(lost, stamps[index]) == bisect_right(lost, stamps[index]):
                yield index, frame


def _index_of(pts: int | None, stamps: np.ndarray, following: int) -> int:
    """Index of the frame with this stamp, -1 for none; `following` if the stamp is missing."""
    if pts is None:
        return following
    index = int(np.searchsorted(stamps, pts))
    return index if index < len(stamps) and stamps[index] == pts else -1


def _decode(container: InputContainer, stream: VideoStream, lost: list[int]) -> Iterator[av.VideoFrame]:
    """Decoded frames in order of presentation; the stamps of packets that cannot be decoded are added to `lost`."""
    decoder, declared = stream.codec_context, f"{stream.width}x{stream.height}"
    decoder.options = {"max_pixels": str(DEFAULT_LIMITS.pixels)}  # what a container declares may be far from it
    for packet in demux(container, stream):
        try:
            if packet.size or is_end_mark(packet):
                yield from packet.decode()
                continue
        except av.FFmpegError as error:  # damaged, or a feature that the decoder lacks
            # Decoders refuse a picture that is too large in two ways.
            no_size = isinstance(error, av.ArgumentError) and decoder.width == 0
            if no_size or decoder.width * decoder.height > DEFAULT_LIMITS.pixels:
                at = f" at {float(packet.pts * packet.time_base):.2f} s" if packet.pts is not None else ""
                raise BadInputError(
                    f"{container.name.removeprefix('file:')} has a picture{at} of more than {DEFAULT_LIMITS.pixels} "
                    f"pixels, though it declares {declared}: scale it"
                ) from None
        if packet.pts is not None:
            insort(lost, packet.pts)
