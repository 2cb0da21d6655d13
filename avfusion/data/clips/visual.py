"""Clips of face crops."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from avfusion.data.clips.clips import clip_targets
from avfusion.data.feature_spec import ClipGeometry, VisualTransform
from avfusion.data.frames import decode_crops
from avfusion.data.geometry import clock_frames, select_clip_frames
from avfusion.data.labelled_tracks import LabelledTrack
from avfusion.data.transforms import downscale

DECODED_LIMIT_BYTES = 3 * 2**30


class VisualClips:
    """Clips of face crops: `load` gives (B, 8, S, S, 3) uint8.

    Crops are decoded and scaled once; if they would take more than `limit` bytes, they stay JPEGs and are decoded for
    every batch.
    """

    def __init__(
        self,
        tracks: Sequence[LabelledTrack],
        geometry: ClipGeometry,
        transform: VisualTransform,
        *,
        target_offset: int = 0,
        stride: int = 1,
        limit: int = DECODED_LIMIT_BYTES,
    ) -> None:
        self._size = transform.input_size
        self._jpegs: list[bytes] = []
        self._tracks = [track.name for track in tracks]
        owners = [np.zeros(0, dtype=np.int32)]
        frames, targets = [np.zeros((0, geometry.kept_frames), dtype=np.int64)], [np.zeros((0, 2), dtype=np.float32)]
        for number, track in enumerate(tracks):
            clock = clock_frames(track.time_s, geometry.fps)
            if not len(clock):
                continue
            ends = np.arange(0, len(clock), stride)
            face = np.array([track.jpegs[frame] is not None for frame in clock], dtype=bool)
            chosen, present = select_clip_frames(face, ends, geometry.clip_frames, geometry.kept_frames)
            values, valid = clip_targets(track, clock, ends, target_offset)
            usable = present & valid
            used = np.unique(chosen[usable])  # ticks whose crops are needed
            frames.append(len(self._jpegs) + np.searchsorted(used, chosen[usable]))
            self._jpegs += [crop for crop in (track.jpegs[clock[tick]] for tick in used) if crop is not None]
            targets.append(values[usable])
            owners.append(np.full(int(usable.sum()), number, dtype=np.int32))
        self._frames, self.targets = np.concatenate(frames), np.concatenate(targets)
        self._owners = np.concatenate(owners)
        self.shape_of = np.zeros(len(self.targets), dtype=np.int64)
        self._crops: np.ndarray | None = None
        if len(self._jpegs) * self._size**2 * 3 <= limit:
            self._crops = np.empty((len(self._jpegs), self._size, self._size, 3), dtype=np.uint8)
            for start in range(0, len(self._jpegs), 256):
                crops = decode_crops(self._jpegs[start : start + 256])
                self._crops[start : start + len(crops)] = downscale(crops, self._size)
            self._jpegs = []

    def load(self, chosen: np.ndarray) -> Tensor:
        """Clips (B, 8, S, S, 3) uint8."""
        frames = self._frames[chosen]
        if self._crops is not None:
            return torch.from_numpy(self._crops[frames])
        needed, places = np.unique(frames, return_inverse=True)
        crops = downscale(decode_crops([self._jpegs[frame] for frame in needed]), self._size)
        return torch.from_numpy(crops[places.reshape(frames.shape)])

    def names(self, chosen: np.ndarray) -> list[str]:
        """Tracks that the chosen clips are of, each once, in the order of the corpus."""
        return [self._tracks[owner] for owner in np.unique(self._owners[chosen])]
