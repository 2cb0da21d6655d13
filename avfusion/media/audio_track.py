"""Which audio track of a file is heard, and when."""

import os
from dataclasses import replace

import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer

from avfusion.media.audio_filters import audio_windows
from avfusion.media.opener import DEFAULT_LIMITS, MediaLimits, audio_stream, open_media
from avfusion.media.timeline import Timeline, read_timeline
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.quantities import counted

AUDIBLE = 3e-4  # 70 dB below full scale
_WINDOW_S = 0.5


def timeline_with_sound(
    path: str | os.PathLike[str], limits: MediaLimits = DEFAULT_LIMITS, *, audio_track: int | None = None
) -> Timeline:
    """The clock of a video, as `read_timeline`, and of the sound that is heard with it.

    Args:
        audio_track: Number of the audio track to hear, from 1; default: as `choose_audio_track`.

    Raises:
        BadInputError: as `read_timeline`; no such audio track.
    """
    with open_media(path, limits) as container:
        audio, notes = choose_audio_track(container, path, audio_track)
        index = None if audio is None else audio.index
    timeline = read_timeline(path, limits, audio_index=index)
    return replace(timeline, warnings=(*timeline.warnings, *notes))


def choose_audio_track(
    container: InputContainer, path: str | os.PathLike[str], number: int | None = None
) -> tuple[AudioStream | None, tuple[str, ...]]:
    """The audio track of an open file, or None; and notes for the user.

    Without a number it is the track that players take: the one that is marked as default, without descriptions for
    people who see or hear badly, else the one with the most data. If it is silent or cannot be decoded, the first other
    track with sound is taken, and a note says so.

    Args:
        number: Number of the track among the audio tracks, from 1.

    Raises:
        BadInputError: there is no such track.
    """
    tracks = list(container.streams.audio)
    if number is not None:
        if not 1 <= number <= len(tracks):
            raise BadInputError(f"{path} has {_listed(tracks)}, so there is no audio track {number}")
        return tracks[number - 1], ()
    best = audio_stream(container)
    if best is None or len(tracks) == 1:
        return best, ()
    for track in sorted(tracks, key=lambda track: track.index != best.index):
        if _is_heard(path, track.index):
            break
    else:
        return best, ()
    if track.index == best.index:
        return best, ()
    at, instead = (_described(tracks, each) for each in (best, track))
    return track, (f"audio track {at} has no sound: heard from audio track {instead}",)


def _is_heard(path: str | os.PathLike[str], index: int) -> bool:
    """Whether anything in a track can be decoded and heard; reads until the first such sample."""
    with open_media(path) as container:
        return any(np.abs(window).max() > AUDIBLE for _, window in audio_windows(container, index, _WINDOW_S))


def _listed(tracks: list[AudioStream]) -> str:
    if not tracks:
        return "no audio track"
    return f"{counted(len(tracks), 'audio track')} ({'; '.join(_described(tracks, track) for track in tracks)})"


def _described(tracks: list[AudioStream], track: AudioStream) -> str:
    """Number, language, title and channels of a track."""
    number = [each.index for each in tracks].index(track.index) + 1
    layout = track.codec_context.layout.name if track.codec_context else "no decoder for it"
    language = "" if track.language in (None, "und") else track.language
    return f"{number}: " + ", ".join(filter(None, (language, track.metadata.get("title", ""), layout)))
