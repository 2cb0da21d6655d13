"""The one function that opens media: local regular files in known containers, within limits.

FFmpeg follows references: playlists, concat scripts and URLs make it open other files and hosts. Therefore only the
`file` protocol and a list of self-contained containers are allowed, and a refusal names what the file is instead.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Discard, Disposition, Stream
from av.video.stream import VideoStream

from avfusion.media.sniffing import describe_content
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.quantities import counted, duration
from avfusion.runtime.work_limits import TooCostlyError, spent_s, work_limits

CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,mxf,wav,w64,mp3,flac,aac,aiff,caf,amr"
ALMOST_SQUARE, WIDEST = 0.02, 4.0
INDEXED_BYTES_PER_S = 50e6  # of a large file without an index, which FFmpeg reads whole
RATES_HZ = 1000, 1_000_000  # of sound
_PROTOCOL = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+):")  # two characters or more: `C:` is a drive


@dataclass(frozen=True)
class MediaLimits:
    """Limits beyond which a media file is refused."""

    pixels: int = 8192 * 4320
    streams: int = 64
    duration_s: float = 6 * 3600
    frames: int = 6 * 3600 * 120
    read_timeout_s: float = 30.0
    demux_deadline_s: float = 600.0
    opening_bytes: float = 7e8
    opening_cpu_s: float = 2.0


DEFAULT_LIMITS = MediaLimits()


class SoundOnlyError(BadInputError):
    """Raised where a video is needed, and the file has sound alone."""


@contextmanager
def open_media(
    path: str | os.PathLike[str], limits: MediaLimits = DEFAULT_LIMITS, *, plain_edits: bool = False
) -> Iterator[InputContainer]:
    """Context manager that opens a local media file for reading.

    Args:
        plain_edits: Let an MP4's edit list only shift the streams' clocks and cut nothing.

    Raises:
        BadInputError: the file is missing, a folder, a device, a URL, empty, unreadable, no known container (the
            message says what it is instead), or beyond the limits on streams, pixels and duration. Errors of FFmpeg
            inside the block become BadInputErrors, too.
    """
    file = check_media_file(path)
    options = {
        "protocol_whitelist": "file",
        "format_whitelist": CONTAINERS,
    }
    if plain_edits:
        options["advanced_editlist"] = "0"
    try:
        with _opened(file, options, limits) as container:
            _check_limits(container, path, limits)
            yield container
    except av.FFmpegError as error:
        raise BadInputError(  # demuxers that FFmpeg interrupts may call the file broken
            f"{path} cannot be read as media: opening it takes more than {limits.read_timeout_s:g} s"
            if spent_s(error) >= limits.read_timeout_s
            else f"{path} cannot be read as media: {describe_content(file, error)}"
        ) from None


def _opened(file: Path, options: dict[str, str], limits: MediaLimits) -> InputContainer:
    """Open a file within limits: FFmpeg reads its index and its first packets, whatever they ask for."""
    cpu_s = limits.opening_cpu_s + file.stat().st_size / INDEXED_BYTES_PER_S
    try:
        with work_limits(limits.opening_bytes, cpu_s):
            # The explicit prefix keeps a name such as `concat:a` from being read as a protocol.
            return av.open(
                f"file:{file}", container_options=options, timeout=limits.read_timeout_s, metadata_errors="replace"
            )
    except TooCostlyError as error:
        raise TooCostlyError(f"{file} cannot be opened: {error}: it is damaged, or made to harm") from None


def demux(container: InputContainer, *streams: Stream) -> Iterator[av.Packet]:
    """The container's packets in file order; with `streams`, only theirs.

    Where a video has decoding stamps alone, FFmpeg guesses that a picture is shown as the next packet is decoded, late
    by a frame or by a gap. Its packets then have their decoding stamp instead.
    """
    stampless = {stream.index for stream in container.streams.video if only_decoding_stamps(container, stream)}
    try:
        if not stampless:
            yield from container.demux(*streams)
            return
        for packet in container.demux(*streams):
            if packet.stream_index in stampless:
                packet.pts = packet.dts
            yield packet
    except IndexError:
        # FLV and MPEG-TS may announce streams late. PyAV 18 leaves those out, but may ask for one of them after the
        # last packet.
        return


def only_decoding_stamps(container: InputContainer, stream: VideoStream) -> bool:
    """Whether a video has no presentation stamps, as in AVI, and in Matroska where a stream was taken from an AVI."""
    if "matroska" in container.format.name:  # a codec by its four characters: V_MS/VFW/FOURCC
        return stream.codec_context is not None and stream.codec_context.codec_tag != "\0\0\0\0"
    return "avi" in container.format.name


def is_end_mark(packet: av.Packet) -> bool:
    """Whether a packet is the demuxer's mark of a stream's end, which makes a decoder give what it holds back.

    Other packets without content are samples that were left empty, say, where a camera dropped a frame.
    """
    return packet.size == 0 and packet.pts is None and packet.dts is None


def video_stream(container: InputContainer, path: str | os.PathLike[str]) -> VideoStream:
    """The main video stream; cover art does not count.

    Raises:
        SoundOnlyError: there is sound and no video stream.
        BadInputError: there is no video stream, or no decoder for it.
    """
    streams = {s.index: s for s in container.streams.video if not s.disposition & Disposition.attached_pic}
    best = container.streams.best("video")
    if streams:
        chosen = streams.get(best.index if best else -1) or next(iter(streams.values()))
        if chosen.codec_context is None:
            raise BadInputError(f"{path}: there is no decoder for its video stream: convert it, for example to H.264")
        return chosen
    found = ", ".join(stream.type for stream in container.streams) or "nothing"
    refusal = SoundOnlyError if container.streams.audio else BadInputError
    raise refusal(f"{path} has no video stream (found: {found})")


def pixel_aspect(stream: VideoStream) -> float:
    """Width of a pixel over its height; 1 where the file gives none, or one that no camera or disc has.

    Ratios nearer to 1 than 16:15, such as 1280:1281, come from rounding to whole pixels and count as 1.
    """
    aspect = float(stream.sample_aspect_ratio or 1)
    return aspect if abs(aspect - 1) > ALMOST_SQUARE and 1 / WIDEST <= aspect <= WIDEST else 1.0


def audio_stream(container: InputContainer) -> AudioStream | None:
    """The main audio stream, or None; without a decoder for it, its `codec_context` is None."""
    best = container.streams.best("audio")
    return best if isinstance(best, AudioStream) else None


def skip_other_streams(container: InputContainer, stream: Stream) -> None:
    """Make the demuxer skip the packets of other streams."""
    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all


def check_media_file(path: str | os.PathLike[str]) -> Path:
    """The absolute path of a readable, non-empty, local regular file; its content is not checked.

    Raises:
        BadInputError: it is a URL, missing, a folder, a device, pipe or socket, not readable, or empty.
    """
    text = os.fspath(path)
    file = Path(text)
    reason = ""
    try:
        there = file.exists()
        if not there and file.is_symlink():
            reason = " (a link to nothing)"
    except OSError as error:  # the name is too long, a folder above may not be entered
        there, reason = False, f" ({error.strerror})"
    except ValueError:
        raise BadInputError(f"{text!r} is no name of a file") from None
    if not there:
        shown = text if len(text) <= 200 else f"{text[:200]}…"
        if match := _PROTOCOL.match(text):
            raise BadInputError(
                f"{shown} is a URL or FFmpeg protocol ({match[1]}:), only local files are read: save it first"
            )
        raise BadInputError(f"{shown} does not exist{reason}")
    if file.is_dir():
        raise BadInputError(f"{text} is a folder, a media file is needed")
    if not file.is_file():
        raise BadInputError(f"{text} is a device, pipe or socket, only regular files are read")
    if not os.access(file, os.R_OK):
        raise BadInputError(f"{text} may not be read: its permissions forbid it")
    if file.stat().st_size == 0:
        raise BadInputError(f"{text} is empty (0 bytes)")
    return file.absolute()


def _check_limits(container: InputContainer, path: str | os.PathLike[str], limits: MediaLimits) -> None:
    if len(container.streams) > limits.streams:
        raise BadInputError(f"{path} has {len(container.streams)} streams, must be at most {limits.streams}")
    seconds = (container.duration or 0) / av.time_base
    if seconds > limits.duration_s:
        raise BadInputError(f"{path} lasts {duration(seconds)}, must be at most {duration(limits.duration_s)}: cut it")
    size = os.path.getsize(path)
    for stream in container.streams:
        promised = max(stream.frames, len(getattr(stream, "index_entries", ())))
        if promised > size:  # by an index, which FFmpeg may not have been able to hold
            held = f"{counted(promised, 'packet')} in {counted(size, 'byte')}"
            raise BadInputError(f"{path} promises {held}: it is damaged, or made to harm")
    for sound in container.streams.audio:
        rate = sound.codec_context.sample_rate if sound.codec_context else 0
        if rate and not RATES_HZ[0] <= rate <= RATES_HZ[1]:
            least, most = RATES_HZ
            raise BadInputError(f"{path} has sound of {rate} samples per second, must be {least} to {most}")
    for stream in container.streams.video:
        if stream.codec_context is None:
            continue
        width = round(stream.width * max(1.0, pixel_aspect(stream)))
        if width * stream.height > limits.pixels:
            raise BadInputError(
                f"{path} has frames of {width}x{stream.height}, must be at most {limits.pixels} pixels: scale it"
            )
