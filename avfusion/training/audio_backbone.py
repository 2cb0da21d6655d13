"""Training data of the audio backbone: clips of sound, and their preparation for the network."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avfusion.corpora.table import Track
from avfusion.data.audio import read_audio
from avfusion.data.clips.sound import SoundClips
from avfusion.data.feature_spec import AudioTransform, ClipGeometry
from avfusion.data.frames import read_frame_times
from avfusion.data.labelled_tracks import LabelledTrack, labelled_files
from avfusion.data.labels import frame_labels
from avfusion.data.transforms import LogMel, augment_sound, augment_spectrograms
from avfusion.training.backbones import STRIDES, Prepare, TrainingData


def audio_data(
    root: Path, tracks: Sequence[Track], geometry: ClipGeometry, transform: AudioTransform, *, target_offset: int = 0
) -> TrainingData:
    """Training and validation clips from the stores below `root`."""
    train, val = (
        SoundClips(_heard_tracks(root, tracks, split), geometry, transform, target_offset=target_offset, stride=stride)
        for split, stride in STRIDES.items()
    )
    return TrainingData(audio_preparation(transform), train, val)


def audio_preparation(transform: AudioTransform) -> Prepare:
    """Sound (B, samples) → network input; augmented if a generator is given."""
    log_mel = LogMel(transform)

    def prepare(sound: Tensor, generator: torch.Generator | None) -> Tensor:
        if generator is None:
            return log_mel(sound)
        return augment_spectrograms(log_mel(augment_sound(sound, generator)), generator)

    return prepare


def _heard_tracks(root: Path, tracks: Sequence[Track], split: str) -> list[LabelledTrack]:
    found = []
    for files in labelled_files(root, tracks, split):
        time_s = read_frame_times(files.frames)
        labels, valid = frame_labels(files.labels, len(time_s))
        sound = None
        if files.sound.is_file():
            sound = np.round(read_audio(files.sound) * 32768).astype(np.int16)  # as it is in the file
        found.append(LabelledTrack(files.track, time_s, labels, valid, sound=sound))
    return found
