"""When the picture of a trimmed MP4 really starts."""

import os

from avfusion.media.opener import MediaLimits, demux, open_media, video_stream


def picture_delay_s(path: str | os.PathLike[str], limits: MediaLimits, position: int, pts: int) -> float:
    """Seconds by which the picture is shown later than FFmpeg's stamps say.

    An edit list may begin between two frames, as stream copies that start at an arbitrary time do. FFmpeg drops the
    frame that spans the beginning and moves the others up to it, by less than a frame, but not the sound. Its plain
    reading of the list, which cuts nothing and knows only the first edit, moves nothing.

    Args:
        path: An MP4 or MOV.
        limits: As in `open_media`.
        position: Byte position of the packet of one of the first frames that are shown.
        pts: The stamp that the packet has in the usual reading.
    """
    with open_media(path, limits, plain_edits=True) as container:
        stream = video_stream(container, path)
        for packet in demux(container, stream):
            if packet.pos == position and packet.pts is not None:
                return float((packet.pts - pts) * stream.time_base) if stream.time_base else 0.0
    return 0.0
