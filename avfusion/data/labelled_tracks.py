"""Labelled tracks for the training of backbones, and their files in the stores."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avfusion.corpora.table import Track


@dataclass(frozen=True)
class LabelledTrack:
    """One track for backbone training.

    Attributes:
        time_s: (N,) seconds of every video frame, 0 at the first.
        jpegs: N encoded crops, None where there is no face; empty if not needed.
        sound: (samples,) int16; None without an audio stream, or if not needed.
    """

    name: str
    time_s: np.ndarray
    labels: np.ndarray
    valid: np.ndarray
    jpegs: Sequence[bytes | None] = ()
    sound: np.ndarray | None = None


@dataclass(frozen=True)
class TrackFiles:
    """Files of one track in the stores of a project; files may be missing."""

    track: str
    frames: Path
    labels: Path
    sound: Path


def track_files(root: Path, track: Track) -> TrackFiles:
    """The files of a track in the stores below `root`."""
    data = root / "data"
    frames, labels = (data / kind / f"{track.track}.parquet" for kind in ("frames", "labels"))
    return TrackFiles(track.track, frames, labels, data / "audio" / f"{track.video}.wav")


def labelled_files(root: Path, tracks: Sequence[Track], split: str) -> Iterator[TrackFiles]:
    """Files of the tracks of a split that have frames and labels.

    Tracks without frames were skipped by an earlier stage (`common.on_error: skip`).
    """
    for track in tracks:
        files = track_files(root, track)
        if track.split == split and files.frames.is_file() and files.labels.is_file():
            yield files
