"""Training data of the visual backbone: clips of face crops, and their preparation for the network."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from avfusion.corpora.table import Track
from avfusion.data.clips.visual import VisualClips
from avfusion.data.feature_spec import ClipGeometry, VisualTransform
from avfusion.data.frames import read_frames
from avfusion.data.labelled_tracks import LabelledTrack, labelled_files
from avfusion.data.labels import frame_labels
from avfusion.data.transforms import augment_clips, normalise_clips
from avfusion.training.backbones import STRIDES, Prepare, TrainingData


def visual_data(
    root: Path,
    tracks: Sequence[Track],
    geometry: ClipGeometry,
    transform: VisualTransform,
    *,
    target_offset: int = 0,
    hue: float = 0.0,
) -> TrainingData:
    """Training and validation clips from the stores below `root`."""
    train, val = (
        VisualClips(_seen_tracks(root, tracks, split), geometry, transform, target_offset=target_offset, stride=stride)
        for split, stride in STRIDES.items()
    )
    return TrainingData(visual_preparation(transform, hue=hue), train, val)


def visual_preparation(transform: VisualTransform, *, hue: float = 0.0) -> Prepare:
    """Crops (B, 8, S, S, 3) uint8 → network input; augmented if a generator is given."""
    shift = transform.input_size // 28

    def prepare(clips: Tensor, generator: torch.Generator | None) -> Tensor:
        if generator is None:
            return normalise_clips(clips, transform)
        return normalise_clips(augment_clips(clips, generator, hue=hue, shift=shift), transform)

    return prepare


def _seen_tracks(root: Path, tracks: Sequence[Track], split: str) -> list[LabelledTrack]:
    found = []
    for files in labelled_files(root, tracks, split):
        table = read_frames(files.frames)
        labels, valid = frame_labels(files.labels, len(table.time_s))
        found.append(LabelledTrack(files.track, table.time_s, labels, valid, jpegs=table.jpeg))
    return found
