"""When each frame of a video is shown and where its audio lies, from the packets alone: nothing is decoded."""

import os
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from avfusion.errors import BadInputError
from avfusion.media.opener import DEFAULT_LIMITS, MediaLimits, audio_stream, demux, open_media, video_stream
from avfusion.media.sniffing import index_is_cut
from avfusion.media.timestamps import presentation_order

FALLBACK_FPS = 25.0
NOTABLE_TAIL_S = 0.2
RATE_ROUNDING_S = 0.002  # Matroska counts milliseconds
MISSING_TAIL_S = 0.5  # a header that promises this much more than the file holds: truncated


@dataclass(frozen=True)
class Timeline:
    """The clock of one video; every time counts from the presentation of its first frame, in seconds.

    Attributes:
        times_s: (N,) float64, strictly increasing, 0 at the first frame.
        end_s: When the last frame ends.
        fps: Mean frame rate.
        origin_s: Time of the first frame on the container's own clock.
        stamps: Raw presentation stamp of each frame (the stream's ticks), where they identify frames, else None.
        audio_start_s: When the audio stream starts (negative: before the first frame); None: no audio packets.
        audio_end_s: When it ends.
        audio_rate: Samples per second of the audio stream, 0 without one or without a decoder for it.
        audio_channels: Its channels, likewise.
        width: Pixels as coded, before rotation.
        height: Pixels as coded, before rotation.
        warnings: What was repaired or looks wrong.
    """

    times_s: np.ndarray
    end_s: float
    fps: float
    origin_s: float
    stamps: list[int] | None
    audio_start_s: float | None
    audio_end_s: float | None
    audio_rate: int
    audio_channels: int
    width: int
    height: int
    warnings: tuple[str, ...]

    @property
    def frames(self) -> int:
        """Number of video frames."""
        return len(self.times_s)


@dataclass
class _Packets:
    pts: list[int | None]
    dts: list[int | None]
    last_duration: int
    audio_start_s: float | None
    audio_end_s: float | None
    end_s: float  # of the longest stream, on the container's clock


def read_timeline(path: str | os.PathLike[str], limits: MediaLimits = DEFAULT_LIMITS) -> Timeline:
    """Read the packets of a video and work out its clock.

    Raises:
        BadInputError: as `open_media`; no video stream, no frames, truncated, or more frames than the limits allow.
    """
    with open_media(path, limits) as container:
        video, audio = video_stream(container, path), audio_stream(container)
        packets = _read_packets(container, video, audio.index if audio else -1, path, limits)
        if not packets.pts:
            raise BadInputError(f"{path} has a video stream but no frames (truncated or never finished?)")
        base = float(video.time_base or Fraction(1, 90000))
        rate = video.average_rate or video.guessed_rate
        nominal_s = 1 / float(rate or FALLBACK_FPS)
        shown = presentation_order(packets.pts, packets.dts, 1 / base, nominal_s / base)
        origin = float(shown.ticks[0]) * base
        times = (shown.ticks - shown.ticks[0]) * base
        if not np.isfinite(times).all() or (np.diff(times) <= 0).any():  # near the ends of 64 bits
            raise BadInputError(f"{path}: its time stamps are beyond what can be told apart: remux it")
        tail = _check_whole(container, video, packets, origin + float(times[-1]), path)
        step = float(np.median(np.diff(times))) if len(times) > 1 else nominal_s
        end = float(times[-1]) + (packets.last_duration * base if packets.last_duration > 0 else step)
        if end > limits.duration_s:
            raise BadInputError(f"{path} lasts {end / 3600:.1f} h, allowed are {limits.duration_s / 3600:g} h: cut it")
        # AVI holds no presentation stamps: FFmpeg's guesses are right in number, but not in order among B-frames.
        guessed = "avi" in container.format.name and bool(video.codec_context.has_b_frames)
        # Without a decoder there is a stream, but nothing is known of it.
        sounds = audio if packets.audio_start_s is not None and audio and audio.codec_context else None
        return Timeline(
            times_s=times,
            end_s=end,
            fps=_mean_rate(times, end, rate),
            origin_s=origin,
            stamps=None if guessed else shown.stamps,
            audio_start_s=packets.audio_start_s - origin if packets.audio_start_s is not None else None,
            audio_end_s=packets.audio_end_s - origin if packets.audio_end_s is not None else None,
            audio_rate=sounds.codec_context.sample_rate if sounds else 0,
            audio_channels=sounds.codec_context.layout.nb_channels if sounds else 0,
            width=video.width,
            height=video.height,
            warnings=shown.warnings + tail,
        )


def _read_packets(
    container: InputContainer, video: VideoStream, audio_index: int, path: str | os.PathLike[str], limits: MediaLimits
) -> _Packets:
    found = _Packets([], [], 0, None, None, 0.0)
    deadline = time.monotonic() + limits.demux_deadline_s
    hidden_possible = video.codec_context.name.startswith(("vp8", "libvpx"))
    latest = -(1 << 62)
    spans: dict[int, tuple[int, int]] = {}  # of each stream: first stamp and last end, in its own ticks
    for packet in demux(container):
        if packet.size == 0 or packet.is_discard:  # the demuxer's end marks; samples outside the edit list
            continue
        pts, index, duration = packet.pts, packet.stream_index, packet.duration or 0
        stamp = pts if pts is not None else packet.dts
        if stamp is not None:
            begin, finish = spans.get(index, (stamp, stamp))
            spans[index] = min(begin, stamp), max(finish, stamp + duration)
        if index != video.index or (hidden_possible and not _vp8_shown(packet)):
            continue
        found.pts.append(pts)
        found.dts.append(packet.dts)
        if stamp is not None and stamp >= latest:
            latest, found.last_duration = stamp, duration
        if len(found.pts) > limits.frames:
            raise BadInputError(f"{path} has more than {limits.frames} frames: cut it")
        if len(found.pts) % 1000 == 0 and time.monotonic() > deadline:
            raise BadInputError(f"{path}: reading its packets took more than {limits.demux_deadline_s:g} s, given up")
    for index, (begin, finish) in spans.items():
        base = container.streams[index].time_base
        if base is None:
            continue
        found.end_s = max(found.end_s, float(finish * base))
        if index == audio_index:
            found.audio_start_s, found.audio_end_s = float(begin * base), float(finish * base)
    return found


def _vp8_shown(packet: av.Packet) -> bool:
    """VP8 carries alternate reference frames in packets of their own, which are never shown (RFC 6386, 9.1)."""
    return bool(bytes(packet)[0] & 0x10)


def _check_whole(
    container: InputContainer, video: VideoStream, packets: _Packets, last_s: float, path: str | os.PathLike[str]
) -> tuple[str, ...]:
    """Compare what the header promises with what the packets hold; a small lack is a warning."""
    if "mp4" in container.format.name and index_is_cut(Path(path)):
        raise BadInputError(f"{path} is truncated: it ends inside its index, so streams are missing: copy it again")
    promised, held = (container.duration or 0) / av.time_base, packets.end_s
    if "avi" in container.format.name and video.frames and video.average_rate:
        # FFmpeg guesses the duration of an AVI without index from its size; the header's frame count is the promise.
        promised, held = max(promised, float(video.frames / video.average_rate)), max(held, last_s)
    missing = promised - held
    if missing > max(MISSING_TAIL_S, 0.02 * promised):
        raise BadInputError(
            f"{path} is truncated: its header promises {promised:.2f} s, it holds {max(held, 0.0):.2f} s "
            f"({len(packets.pts)} frames): copy it again"
        )
    return (f"the header promises {missing:.2f} s more than the file holds",) if missing > NOTABLE_TAIL_S else ()


def _mean_rate(times: np.ndarray, end_s: float, declared: Fraction | None) -> float:
    """The declared rate where it fits the times but for their rounding, else the measured one."""
    if declared and abs((len(times) - 1) / float(declared) - float(times[-1])) < RATE_ROUNDING_S:
        return float(declared)
    if len(times) > 1:
        return (len(times) - 1) / float(times[-1])
    return 1.0 / end_s if end_s > 0 else FALLBACK_FPS
