"""Audio on the clock of the video: mono, 44.1 kHz, sample 0 at the time of the first frame."""

import os
from collections.abc import Callable, Iterator, Mapping

import av
import numpy as np

from avfusion.media.audio_filters import (
    FRAMES_PER_PULL,
    SoundFormat,
    audio_frames,
    block_filters,
    filtered_blocks,
    format_of,
)
from avfusion.media.audio_track import timeline_with_sound
from avfusion.media.channels import HeardChannels, average, check_channels, measure_channels
from avfusion.media.opener import open_media
from avfusion.media.timeline import Timeline
from avfusion.media.timestamps import JoinedClock
from avfusion.media.wav import SAMPLE_RATE
from avfusion.runtime.quantities import counted

JUMP_S = 0.015  # stamps rounded to a millisecond jitter by less; a lost packet of a speech codec takes 20 ms
NOTABLE_GAP_S = 0.2
BLOCK_SAMPLES = 1 << 16


def read_aligned_audio(path: str | os.PathLike[str], *, timeline: Timeline | None = None) -> np.ndarray | None:
    """Decode the audio of a video, (n,) float32 in [-1, 1], as `aligned_audio` gives it; None without a stream."""
    timeline = timeline or timeline_with_sound(path)
    if timeline.audio_start_s is None:
        return None
    # Nothing is allocated for the duration of the pictures: one absurd time stamp makes that hours.
    return np.concatenate([np.empty(0, np.float32), *aligned_audio(path, timeline)])


def aligned_audio(
    path: str | os.PathLike[str],
    timeline: Timeline,
    *,
    stereo: bool = False,
    on_warning: Callable[[str], None] | None = None,
) -> Iterator[np.ndarray]:
    """Decode the audio of a video block by block, float32 in [-1, 1], mono, 44.1 kHz, each following the one before.

    The first sample is at the time of frame 1: audio before that is cut, a late start or a gap is filled with zeros.
    The blocks end with the audio, at the latest with the last frame, so they may be shorter than the video together;
    without decodable audio there are none. Where two pieces of audio overlap in time, the one decoded first is kept and
    the other loses its beginning. The channels that are heard (`avfusion.media.channels.heard_channels`) are averaged.
    Silence counts as audio.

    A block is (n,), or with `stereo` (2, n): two channels are kept, any other number is averaged into both.

    Args:
        on_warning: Called with a note if some channels are not heard, and at the end with one if some of the sound is
            missing.

    Raises:
        BadInputError: the file cannot be read as media, or has more than 64 channels of audio.
    """
    last = _last_sample(timeline)
    end = missing = 0
    lost: list[None] = []
    for start, samples in _pieces(path, timeline, 2 if stereo else 1, on_warning, lambda: lost.append(None)):
        kept = samples[..., max(0, end - start) : max(0, last - start)]
        if kept.size:
            missing += start - end if 0 < end < start else 0
            while end < start:
                yield np.zeros((*kept.shape[:-1], min(start - end, BLOCK_SAMPLES)), np.float32)
                end += min(start - end, BLOCK_SAMPLES)
            yield kept
            end += kept.shape[-1]
        if end >= last:
            break
    if end and on_warning and (note := _missing(missing / SAMPLE_RATE, len(lost))):
        on_warning(note)


def _missing(seconds: float, packets: int) -> str:
    """A note on gaps within the sound and packets that cannot be decoded; empty if there is little to tell."""
    damaged = f"{counted(packets, 'packet')} of its sound cannot be decoded" if packets else ""
    if seconds > NOTABLE_GAP_S:
        gaps = f"{seconds:.2f} s within its sound are missing: silence there"
        return f"{damaged}, {gaps}" if damaged else gaps
    return f"{damaged}: left out" if damaged else ""


def _last_sample(timeline: Timeline) -> int:
    return max(0, round(timeline.end_s * SAMPLE_RATE))


class _Run:
    """Audio of one format without a jump, through one resampler.

    Attributes:
        source: Format of the input.
    """

    def __init__(self, source: SoundFormat, mix: list[str] | None, start_s: float) -> None:
        self.source = source
        self._start_s = start_s
        self._read = 0
        self._written = round(start_s * SAMPLE_RATE)
        self._waiting = 0
        self._graph = block_filters(source, BLOCK_SAMPLES, mix=mix, rate=SAMPLE_RATE)

    @property
    def read_s(self) -> float:
        """End of what has been read, in seconds from the first video frame."""
        return self._start_s + self._read / self.source.rate

    def push(self, frame: av.AudioFrame) -> bool:
        """Add a frame; return whether to pull now."""
        self._read += frame.samples
        frame.pts = None  # samples are counted here; rounded stamps would make the resampler's own count wander
        self._graph.push(frame)
        self._waiting += 1
        return self._waiting >= FRAMES_PER_PULL

    def pull(self, end: bool = False) -> Iterator[tuple[int, np.ndarray]]:
        """Pieces that are ready (at the end: all that is left), each with the number of its first sample."""
        if end:
            self._graph.push(None)
        self._waiting = 0
        for planes in filtered_blocks(self._graph):
            samples = planes if len(planes) > 1 else planes[0]
            yield self._written, samples
            self._written += samples.shape[-1]


class _Mixer:
    """Mixes the channels of a track; they are measured when the first have to be mixed."""

    def __init__(
        self, path: str | os.PathLike[str], index: int, wanted: int, on_warning: Callable[[str], None] | None
    ) -> None:
        self._path, self._index, self._wanted, self._on_warning = path, index, wanted, on_warning
        self._heard: Mapping[str, HeardChannels] | None = None

    def mix(self, frame: av.AudioFrame) -> list[str] | None:
        """What becomes of the channels of a frame, as for `block_filters`."""
        if check_channels(frame.layout.nb_channels, self._path) == self._wanted:
            return None
        if self._heard is None:
            self._heard = measure_channels(self._path, self._index)
            for heard in self._heard.values():
                if heard.note and self._on_warning:
                    self._on_warning(heard.note)
        heard = self._heard.get(frame.layout.name) or average(frame.layout.nb_channels)
        return [heard.mix()] * self._wanted


def _pieces(
    path: str | os.PathLike[str],
    timeline: Timeline,
    channels: int,
    on_warning: Callable[[str], None] | None,
    on_lost: Callable[[], None],
) -> Iterator[tuple[int, np.ndarray]]:
    """Pieces of audio, 1 or 2 channels, each with the number of its first sample, counted from the first frame."""
    if timeline.audio_index is None:
        return
    clock = JoinedClock(timeline.clock_shifts_s)
    mixer = _Mixer(path, timeline.audio_index, channels, on_warning)
    run: _Run | None = None
    with open_media(path) as container:
        for frame in audio_frames(container, timeline.audio_index, on_lost=on_lost):
            source, time_s = format_of(frame), frame.time
            start_s = None if time_s is None else clock.joined(time_s) - timeline.origin_s
            jumps = run is not None and start_s is not None and abs(start_s - run.read_s) > JUMP_S
            if run is None or jumps or run.source != source:
                if run is not None:
                    yield from run.pull(end=True)
                begin_s = start_s if start_s is not None else (run.read_s if run else -timeline.origin_s)
                run = _Run(source, mixer.mix(frame), begin_s)
            if run.push(frame):
                yield from run.pull()
        if run is not None:
            yield from run.pull(end=True)
