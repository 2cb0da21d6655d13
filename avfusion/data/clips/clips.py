"""What clips of both streams have in common: targets, and batches of one shape."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from torch import Tensor

from avfusion.data.labelled_tracks import LabelledTrack


class Clips(Protocol):
    """Clips with targets, by number.

    Attributes:
        shape_of: (M,) ints; only clips with equal values can be batched.
    """

    targets: np.ndarray
    shape_of: np.ndarray

    def load(self, chosen: np.ndarray) -> Tensor:
        """Clips of one shape as one tensor, before augmentation and normalisation."""

    def names(self, chosen: np.ndarray) -> list[str]:
        """Tracks that the chosen clips are of, each once, in the order of the corpus."""


def clip_targets(
    track: LabelledTrack, clock: np.ndarray, ends: np.ndarray, target_offset: int
) -> tuple[np.ndarray, np.ndarray]:
    """Targets (T, 2) of clips that end at the ticks `ends` (T,), and which of them are valid (T,)."""
    at = ends + target_offset
    inside = (at >= 0) & (at < len(clock))
    frames = clock[np.clip(at, 0, len(clock) - 1)]
    return track.labels[frames].astype(np.float32), inside & track.valid[frames]


def batches(clips: Clips, chosen: np.ndarray, size: int, *, smallest: int = 1) -> Iterator[np.ndarray]:
    """Split clip numbers into batches of one shape each, in the order in which shapes first occur.

    Batches of fewer than `smallest` clips are dropped.
    """
    shapes = clips.shape_of[chosen]
    distinct, first = np.unique(shapes, return_index=True)
    for shape in distinct[np.argsort(first)]:
        group = chosen[shapes == shape]
        for start in range(0, len(group), size):
            if len(batch := group[start : start + size]) >= smallest:
                yield batch
