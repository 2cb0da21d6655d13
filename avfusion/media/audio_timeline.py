"""The clock of a file that has sound and no picture: rows at a fixed rate, from the beginning of its sound."""

import os
import time
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer

from avfusion.media.audio_filters import audio_frames
from avfusion.media.audio_track import choose_audio_track, timeline_with_sound
from avfusion.media.opener import DEFAULT_LIMITS, MediaLimits, SoundOnlyError, demux, open_media, skip_other_streams
from avfusion.media.timeline import NOTABLE_TAIL_S, Timeline
from avfusion.media.timestamps import presentation_order
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.quantities import duration

ROWS_PER_S = 25.0
PADDING_S = 0.1  # encoders fill up their last frame, by less
LONGEST_PICTURE_S = 1.0
ROUNDING_S = 0.002  # Matroska counts milliseconds
TOLD = ("mp4", "matroska", "wav", "flac")  # the duration stands in the header; of others FFmpeg guesses or counts it
ENDLESS = 0x7FFFF000  # bytes and more: what recorders write that do not know the length yet


def read_any_timeline(
    path: str | os.PathLike[str], limits: MediaLimits = DEFAULT_LIMITS, *, audio_track: int | None = None
) -> Timeline:
    """As `timeline_with_sound`; of a file with sound and no video, the clock of `read_audio_timeline`.

    Cover art is no video, even if the file does not mark it as such: a single picture beside longer sound. Neither is
    what a cut has left of a video, if it is a single picture; `damage` says so.
    """
    try:
        timeline = timeline_with_sound(path, limits, audio_track=audio_track)
    except SoundOnlyError:
        return read_audio_timeline(path, limits, audio_track=audio_track)
    if timeline.frames > 1 or (timeline.audio_end_s or 0.0) <= LONGEST_PICTURE_S:
        return timeline
    sound = read_audio_timeline(path, limits, audio_track=audio_track)
    lost = [timeline.damage] if timeline.damage else []  # the other pictures
    return replace(sound, warnings=(*sound.warnings, *lost), damage=timeline.damage)


def read_audio_timeline(
    path: str | os.PathLike[str], limits: MediaLimits = DEFAULT_LIMITS, *, audio_track: int | None = None
) -> Timeline:
    """The clock of a file's sound alone: a row every 1/25 s, the first at its first sample; width and height are 0.

    Raises:
        BadInputError: as `open_media`; no such audio track, no sound that can be decoded, or longer than the limits
            allow.
    """
    with open_media(path, limits) as container:
        audio, notes = choose_audio_track(container, path, audio_track)
        index = None if audio is None else audio.index
        first = None if index is None else next(audio_frames(container, index), None)
    if index is None or first is None:
        raise BadInputError(f"{path} has no picture, and no sound that can be decoded")
    with open_media(path, limits) as container:
        stream = container.streams[index]
        assert isinstance(stream, AudioStream)
        base = float(stream.time_base or Fraction(1, 90000))
        pts, dts, last = _read_packets(container, stream, path, limits)
        if not pts:
            raise BadInputError(f"{path} has no picture, and no sound that can be decoded")
        shown = presentation_order(pts, dts, 1 / base, first.samples / first.sample_rate / base)
        origin = float(shown.ticks[0]) * base if first.time is None else float(first.time)  # after an encoder's delay
        end = float(shown.ticks[-1] * base) + (last * base or first.samples / first.sample_rate) - origin
        promised = _promised_s(container, stream, origin)
        missing_s = _cut_off_s(path, stream) if "wav" in container.format.name else promised - end
        told = any(name in container.format.name for name in TOLD)
    if 0 < end - promised < PADDING_S:
        end = promised
    end = max(end, 1 / first.sample_rate)
    if not np.isfinite(end):  # stamps near the limits of 64 bits
        raise BadInputError(f"{path}: its time stamps are too large to be told apart: remux it")
    if end > limits.duration_s:
        raise BadInputError(f"{path} lasts {duration(end)}, must be at most {duration(limits.duration_s)}: cut it")
    if told and missing_s > NOTABLE_TAIL_S:
        notes = (*notes, f"the header promises {missing_s:.2f} s more than the file holds")
    times = np.arange(max(1, int(np.ceil((end - ROUNDING_S) * ROWS_PER_S)))) / ROWS_PER_S
    return Timeline(
        times_s=times,
        end_s=end,
        fps=ROWS_PER_S,
        origin_s=origin,
        stamps=None,
        clock_shifts_s=tuple(shift * base for shift in shown.shifts),
        audio_index=index,
        audio_start_s=0.0,
        audio_end_s=end,
        audio_rate=first.sample_rate,
        audio_channels=first.layout.nb_channels,
        width=0,
        height=0,
        warnings=notes,
        has_pictures=False,
    )


def _read_packets(
    container: InputContainer, stream: AudioStream, path: str | os.PathLike[str], limits: MediaLimits
) -> tuple[list[int | None], list[int | None], int]:
    """Stamps of the packets that are heard, and the duration of the last one."""
    pts: list[int | None] = []
    dts: list[int | None] = []
    last = 0
    deadline = time.monotonic() + limits.demux_deadline_s
    skip_other_streams(container, stream)
    for count, packet in enumerate(demux(container, stream)):
        if count % 1000 == 999 and time.monotonic() > deadline:
            raise BadInputError(f"{path}: reading its packets took more than {limits.demux_deadline_s:g} s, given up")
        if packet.size and not packet.is_discard:
            pts.append(packet.pts)
            dts.append(packet.dts)
            last = packet.duration or 0
    return pts, dts, last


def _promised_s(container: InputContainer, stream: AudioStream, origin_s: float) -> float:
    """The length of the sound by the file's header, or by FFmpeg's guess."""
    if stream.duration and stream.time_base:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base) - origin_s
    start = container.start_time or 0
    if "matroska" in container.format.name:  # its duration counts from 0, not from a late start
        start = min(0, start)
    return (start + (container.duration or 0)) / av.time_base - origin_s


def _cut_off_s(path: str | os.PathLike[str], stream: AudioStream) -> float:
    """The sound that a WAV lacks by its header, in seconds; FFmpeg tells the length that is there."""
    with open(path, "rb") as file:
        promised = int.from_bytes(file.read(8)[4:], "little") + 8
    bits_per_s = stream.codec_context.bit_rate or 0
    missing = promised - os.path.getsize(path)
    return 8 * missing / bits_per_s if bits_per_s and promised < ENDLESS else 0.0
