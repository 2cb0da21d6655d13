"""Tracks with labels, and with pictures or sound, as backbone training reads them from the stores."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avfusion.corpora.table import Track
from avfusion.data.audio import read_audio
from avfusion.data.frames import read_frame_times, read_frames
from avfusion.data.labels import frame_labels


@dataclass(frozen=True)
class LabelledTrack:
    """What one track gives to backbone training.

    Attributes:
        name: the track.
        time_s: (N,) seconds of every video frame, 0 at the first.
        labels: (N, 2) valence and arousal.
        valid: (N,) bool.
        jpegs: N encoded crops, None where there is no face; empty if pictures are not needed.
        sound: (samples,) int16, None without an audio stream or if not needed.
    """

    name: str
    time_s: np.ndarray
    labels: np.ndarray
    valid: np.ndarray
    jpegs: Sequence[bytes | None] = ()
    sound: np.ndarray | None = None


def labelled_tracks(root: Path, tracks: Sequence[Track], split: str, *, stream: str) -> list[LabelledTrack]:
    """Read the tracks of a split that have labels and frames, with what `stream` (audio or visual) needs.

    A track whose frames are missing was skipped by an earlier stage (`common.on_error: skip`).
    """
    found = []
    for track in tracks:
        frames = root / "data" / "frames" / f"{track.track}.parquet"
        labels = root / "data" / "labels" / f"{track.track}.parquet"
        if track.split != split or not frames.is_file() or not labels.is_file():
            continue
        sound_path = root / "data" / "audio" / f"{track.video}.wav"
        jpegs: Sequence[bytes | None] = ()
        if stream == "visual":
            table = read_frames(frames)
            time_s, jpegs = table.time_s, table.jpeg
        else:
            time_s = read_frame_times(frames)
        sound = None
        if stream == "audio" and sound_path.is_file():
            sound = np.round(read_audio(sound_path) * 32768).astype(np.int16)  # as it is in the file
        values, valid = frame_labels(labels, len(time_s))
        found.append(LabelledTrack(track.track, time_s, values, valid, jpegs, sound))
    return found
