"""Decoded frames of a video, one at a time, each with its time."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from avfusion.media.opener import demux, open_media, pixel_aspect, video_stream
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
) -> Iterator[VideoFrame]:
    """Decode a video frame by frame; memory stays flat.

    Frames keep the index of their packet in presentation order, so a frame that cannot be decoded leaves a gap and
    shifts no other.

    Args:
        wanted: Whether the frame of an index is converted to RGB and yielded; default: all.
        on_warning: Called at the end with a warning if frames cannot be decoded.

    Raises:
        BadInputError: as `read_timeline`; more than half of the frames cannot be decoded.
    """
    timeline = timeline or read_timeline(path)
    given = -1
    decoded = 0
    with open_media(path) as container:
        stream = video_stream(container, path)
        maker = PictureMaker(pixel_aspect(stream))
        for order, frame in enumerate(_decode(container, stream)):
            index = order if timeline.stamps is None else _index_of(frame.pts, timeline.stamps, given + 1)
            if index <= given or index >= timeline.frames:  # a repeated frame, or one without a packet
                continue
            given, decoded = index, decoded + 1
            if wanted is None or wanted(index):
                yield VideoFrame(index, float(timeline.times_s[index]), maker.picture(frame))
    if 2 * decoded < timeline.frames:
        raise BadInputError(f"{path} is damaged: only {decoded} of its {timeline.frames} frames can be decoded")
    if decoded < timeline.frames and on_warning:
        on_warning(f"{timeline.frames - decoded} of {timeline.frames} frames cannot be decoded")


def _index_of(pts: int | None, stamps: np.ndarray, following: int) -> int:
    """Index of the frame with this stamp, -1 for none; `following` if the stamp is missing."""
    if pts is None:
        return following
    index = int(np.searchsorted(stamps, pts))
    return index if index < len(stamps) and stamps[index] == pts else -1


def _decode(container: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame]:
    for packet in demux(container, stream):
        try:
            yield from packet.decode()
        except (av.error.InvalidDataError, av.error.EOFError):
            continue  # the damaged packet's frame is missing from the timeline, and counted there
