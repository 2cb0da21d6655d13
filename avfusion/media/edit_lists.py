"""The true start of the picture in a trimmed MP4."""

import os

from avfusion.media.opener import MediaLimits, demux, open_media, video_stream


def picture_delay_s(path: str | os.PathLike[str], limits: MediaLimits, position: int, pts: int) -> float:
    """Seconds by which the picture is shown later than FFmpeg's stamps say.

    An edit list may begin between two frames, as in stream copies that start at an arbitrary time. FFmpeg then drops
    the frame that spans the beginning and moves the other frames, but not the sound, forward by less than a frame. In
    FFmpeg's plain reading of the list, which cuts nothing and knows only the first edit, nothing moves.

    Args:
        limits: As in `open_media`.
        position: Byte position of the packet of one of the first frames shown.
        pts: The packet's stamp in the usual reading.
    """
    with open_media(path, limits, plain_edits=True) as container:
        stream = video_stream(container, path)
        for packet in demux(container, stream):
            if packet.pos == position and packet.pts is not None:
                return float((packet.pts - pts) * stream.time_base) if stream.time_base else 0.0
    return 0.0
