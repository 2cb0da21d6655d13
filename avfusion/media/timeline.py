"""Presentation times of a video's frames and the span of an audio stream, from the packets, without decoding."""

import os
import time
from array import array
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from avfusion.media.edit_lists import picture_delay_s
from avfusion.media.field_pairs import FieldPairs
from avfusion.media.hevc_fields import FieldRows, HevcFields
from avfusion.media.opener import (
    DEFAULT_LIMITS,
    MediaLimits,
    demux,
    is_end_mark,
    only_decoding_stamps,
    open_media,
    skip_other_streams,
    video_stream,
)
from avfusion.media.picture import colour_notes
from avfusion.media.sniffing import index_is_cut
from avfusion.media.timestamps import JoinedClock, presentation_order, shown_after_delay
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.quantities import counted, duration

FALLBACK_FPS = 25.0
NOTABLE_TAIL_S = 0.2
WIDE_STEP, STEADY, STEADY_SHARE = 1.5, 0.1, 0.9  # of the median step; of all steps
RATE_ROUNDING_S = 0.002  # Matroska counts milliseconds
MISSING_TAIL_S = 0.5  # a file whose header promises this much more than it holds is truncated or damaged


@dataclass(frozen=True)
class Timeline:
    """The clock of one video; every time counts from the presentation of its first frame, in seconds.

    Attributes:
        times_s: (N,) float64, strictly increasing, 0 at the first frame.
        origin_s: Time of the first frame on the container's own clock.
        stamps: (M,) int64, raw presentation stamp of each coded picture (ticks), where they identify pictures, else
            None.
        clock_shifts_s: Shifts that join a clock with resets into one: before the first reset (always 0), after it, and
            so on.
        audio_index: Index in the file of the audio stream that was asked for, None without one.
        audio_start_s: When the audio stream starts (negative: before the first frame); None: no audio packets.
        audio_end_s: When the audio stream ends.
        audio_rate: Samples per second of the audio stream, 0 without one or without a decoder for it.
        width: Pixels as coded, before rotation.
        height: Pixels as coded, before rotation; of a frame where fields are coded.
        damage: How the file is cut short, to follow "is"; empty if it is whole. The warnings say so, too.
        has_pictures: False for the clock of sound alone (`avfusion.media.audio_timeline`), a row every 1/25 s.
        fields: The frames of coded pictures, of which some are fields (HEVC); None: each picture is a frame.
    """

    times_s: np.ndarray
    end_s: float
    fps: float
    origin_s: float
    stamps: np.ndarray | None
    clock_shifts_s: tuple[float, ...]
    audio_index: int | None
    audio_start_s: float | None
    audio_end_s: float | None
    audio_rate: int
    audio_channels: int
    width: int
    height: int
    warnings: tuple[str, ...]
    damage: str = ""
    has_pictures: bool = True
    fields: FieldRows | None = None

    @property
    def frames(self) -> int:
        """Number of video frames."""
        return len(self.times_s)

    @property
    def pictures(self) -> int:
        """Number of coded pictures: more than frames where fields are coded."""
        return len(self.fields.rows) if self.fields else self.frames


@dataclass
class _Packets:
    pts: list[int | None]
    dts: list[int | None]
    last_duration: int  # of a frame
    audio: "array[int]"  # stamps of the audio packets
    last_audio_duration: int
    end_s: float  # end of the longest stream, on the container's clock
    cut: bool  # frames before the first one are not shown
    empty: int  # frames without content
    first: tuple[int, int] | None  # byte position and stamp of a frame among the first
    fields: HevcFields | None


def read_timeline(
    path: str | os.PathLike[str], limits: MediaLimits = DEFAULT_LIMITS, *, audio_index: int | None = None
) -> Timeline:
    """Read the packets of a video and work out its clock; `timeline_with_sound` finds the sound to it.

    Args:
        audio_index: Index in the file of an audio stream whose span is found, too; None: the pictures alone, which
            takes half the time. The timeline reports no audio then.

    Raises:
        BadInputError: as `open_media`; no video stream, no frames, or more frames than the limits allow.
    """
    return _read_timeline(path, limits, audio_index, pictures_alone=audio_index is None)


def _read_timeline(
    path: str | os.PathLike[str], limits: MediaLimits, audio_index: int | None, *, pictures_alone: bool
) -> Timeline:
    with open_media(path, limits) as container:
        video = video_stream(container, path)
        audio = None if audio_index is None else container.streams[audio_index]
        assert audio is None or isinstance(audio, AudioStream)
        if pictures_alone:
            skip_other_streams(container, video)
        packets = _read_packets(container, video, audio.index if audio else -1, path, limits)
        if not packets.pts:
            raise BadInputError(f"{path} has a video stream but no frames (truncated or never finished?)")
        base = float(video.time_base or Fraction(1, 90000))
        rate = video.average_rate or video.guessed_rate
        nominal_s = 1 / float(rate or FALLBACK_FPS)
        delay = video.codec_context.reorder_depth if only_decoding_stamps(container, video) else 0
        stamps = shown_after_delay(packets.pts, delay, round(nominal_s / base)) if delay else packets.pts
        shown = presentation_order(stamps, packets.dts, 1 / base, nominal_s / base)
        origin = float(shown.ticks[0]) * base
        if packets.cut and packets.first and "mp4" in container.format.name:
            origin += picture_delay_s(path, limits, *packets.first)
        times = (shown.ticks - shown.ticks[0]) * base
        if not np.isfinite(times).all() or (np.diff(times) <= 0).any():  # near the limits of 64 bits
            raise BadInputError(f"{path}: its time stamps are too large to be told apart: remux it")
        fields = packets.fields.rows(shown.order, shown.ticks) if packets.fields and not delay else None
        if fields:
            times, rate = times[fields.firsts], rate / 2 if rate else None
        shifts = tuple(shift * base for shift in shown.shifts)
        promised, held = _promised_and_held_s(container, video, packets, origin + float(times[-1]))
        if pictures_alone and promised - held > NOTABLE_TAIL_S:  # the sound may last longer
            return _read_timeline(path, limits, None, pictures_alone=False)
        damage, left_out = _missing(promised, held, len(times))
        step = float(np.median(np.diff(times))) if len(times) > 1 else nominal_s
        swallowed = 0
        if "mp4" in container.format.name and not damage and video.frames > len(times):
            swallowed = sum(entry.size == 0 for entry in video.index_entries) - packets.empty
        empty = f"{swallowed} of {video.frames} frames are empty: left out"
        left_out += (empty,) if swallowed > 0 else _gaps(times, step)
        if "mp4" in container.format.name and index_is_cut(Path(path)):
            damage = "truncated: it ends inside its index, so streams may be missing"
        last = packets.last_duration * base if packets.last_duration > 0 and not fields else step
        end = float(times[-1]) + last
        if end > limits.duration_s:
            raise BadInputError(f"{path} lasts {duration(end)}, must be at most {duration(limits.duration_s)}: cut it")
        # Without a decoder, nothing is known of the stream.
        sounds = audio if packets.audio and audio and audio.codec_context else None
        heard = _audio_span(packets, audio, shifts) if audio and packets.audio else None
        return Timeline(
            times_s=times,
            end_s=end,
            fps=_mean_rate(times, end, rate),
            origin_s=origin,
            stamps=None if delay else shown.stamps,
            clock_shifts_s=shifts,
            audio_index=audio.index if audio else None,
            audio_start_s=heard[0] - origin if heard else None,
            audio_end_s=heard[1] - origin if heard else None,
            audio_rate=sounds.codec_context.sample_rate if sounds else 0,
            audio_channels=sounds.codec_context.layout.nb_channels if sounds else 0,
            width=video.width,
            height=video.height * (2 if fields else 1),
            warnings=(*shown.warnings, *left_out, *colour_notes(video), *([damage] if damage else [])),
            damage=damage,
            fields=fields,
        )


def _read_packets(
    container: InputContainer, video: VideoStream, audio_index: int, path: str | os.PathLike[str], limits: MediaLimits
) -> _Packets:
    deadline = time.monotonic() + limits.demux_deadline_s
    codec = video.codec_context
    hidden_possible = codec.name.startswith(("vp8", "libvpx"))
    fields = FieldPairs(bytes(codec.extradata or b"")) if codec.name == "h264" else None
    fields = fields if fields and fields.possible else None
    hevc = HevcFields(bytes(codec.extradata or b"")) if codec.name == "hevc" else None
    hevc = hevc if hevc and hevc.possible else None
    found = _Packets([], [], 0, array("q"), 0, 0.0, False, 0, None, hevc)
    latest = -(1 << 62)
    ends = [latest] * len(container.streams)  # end of each stream in ticks
    for count, packet in enumerate(demux(container)):
        if count % 1000 == 999 and time.monotonic() > deadline:
            raise BadInputError(f"{path}: reading its packets took more than {limits.demux_deadline_s:g} s, given up")
        if is_end_mark(packet) or (packet.size == 0 and packet.stream_index != video.index):
            continue
        if packet.is_discard:  # outside the edit list
            found.cut |= packet.stream_index == video.index and not found.pts
            continue
        index, pts, dts, duration = packet.stream_index, packet.pts, packet.dts, packet.duration or 0
        stamp = pts if pts is not None else dts
        if stamp is not None:
            if stamp + duration > ends[index]:
                ends[index] = stamp + duration
            if index == audio_index:
                found.audio.append(stamp)
                found.last_audio_duration = duration
        if index != video.index or (hidden_possible and not _vp8_shown(packet)):
            continue
        if fields and fields.completes(packet):
            found.last_duration = 0  # that of a field
            continue
        if hevc:
            pts = hevc.add(packet)
        if not found.pts and pts is not None and packet.pos is not None:
            found.first = packet.pos, pts
        found.empty += packet.size == 0
        found.pts.append(pts)
        found.dts.append(dts)
        if stamp is not None and stamp >= latest:
            latest, found.last_duration = stamp, duration
        if len(found.pts) > limits.frames:
            raise BadInputError(f"{path} has more than {limits.frames} frames: cut it")
    for ticks, stream in zip(ends, container.streams, strict=False):
        found.end_s = max(found.end_s, ticks * float(stream.time_base or 0))
    return found


def _audio_span(packets: _Packets, audio: AudioStream, shifts: tuple[float, ...]) -> tuple[float, float]:
    """Start and end of the audio stream, on the joined clock."""
    base = float(audio.time_base or Fraction(1, 90000))
    times = np.frombuffer(packets.audio, np.int64) * base
    if len(shifts) > 1:
        clock = JoinedClock(shifts)
        times = np.array([clock.joined(moment) for moment in times.tolist()])
    return float(times.min()), float(times.max()) + packets.last_audio_duration * base


def _vp8_shown(packet: av.Packet) -> bool:
    """False for VP8's alternate reference frames: packets of their own that are never shown (RFC 6386, 9.1)."""
    return packet.size == 0 or bool(bytes(packet)[0] & 0x10)


def _promised_and_held_s(
    container: InputContainer, video: VideoStream, packets: _Packets, last_s: float
) -> tuple[float, float]:
    """The file's length by its header and by its packets, in seconds."""
    # The clock of a transport stream that wraps around starts below zero.
    start = min(0.0, (container.start_time or 0) / av.time_base)
    promised, held = (container.duration or 0) / av.time_base, packets.end_s - start
    if "avi" in container.format.name and video.frames and video.average_rate:
        # FFmpeg guesses the duration of an AVI without index from its size; the header's frame count is the promise.
        promised, held = max(promised, float(video.frames / video.average_rate)), max(held, last_s)
    return promised, held


def _missing(promised_s: float, held_s: float, frames: int) -> tuple[str, tuple[str, ...]]:
    """Damage if a file holds less than its header promises; a warning if only a little is missing."""
    missing = promised_s - held_s
    if missing > max(MISSING_TAIL_S, 0.02 * promised_s):
        held = f"{max(held_s, 0.0):.2f} s ({frames} frames)"
        return f"truncated or damaged: its header promises {promised_s:.2f} s, it holds {held}", ()
    return "", (f"the header promises {missing:.2f} s more than the file holds",) if missing > NOTABLE_TAIL_S else ()


def _gaps(times: np.ndarray, step_s: float) -> tuple[str, ...]:
    """A warning of pictures that are missing from a steady clock: a camera dropped them, or the file is damaged."""
    steps = np.diff(times)
    wide = steps > WIDE_STEP * step_s
    steady = np.abs(steps - step_s) < STEADY * step_s
    if not wide.any() or steady.sum() < STEADY_SHARE * len(steps):
        return ()
    lost_s, first_s = float((steps[wide] - step_s).sum()), float(times[:-1][wide][0])
    return (f"{counted(int(wide.sum()), 'gap')} in its pictures, {lost_s:.2f} s in all, the first at {first_s:.2f} s",)


def _mean_rate(times: np.ndarray, end_s: float, declared: Fraction | None) -> float:
    """The declared rate if it fits the times within their rounding, else the measured rate."""
    if declared and abs((len(times) - 1) / float(declared) - float(times[-1])) < RATE_ROUNDING_S:
        return float(declared)
    if len(times) > 1:
        return (len(times) - 1) / float(times[-1])
    return 1.0 / end_s if end_s > 0 else FALLBACK_FPS
