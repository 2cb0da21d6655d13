"""Labelled clips of one stream for training its backbone; a clip ends at every tick of every track.

Pictures and sound are held in memory once, as integers; clips are cut from them on demand.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from avfusion.data.audio import cut_sound
from avfusion.data.feature_spec import AudioTransform, ClipGeometry, VisualTransform
from avfusion.data.frames import decode_crops
from avfusion.data.geometry import clip_sound_spans, clock_frames, select_clip_frames
from avfusion.data.labelled_tracks import LabelledTrack
from avfusion.data.transforms import downscale

DECODED_LIMIT_BYTES = 3 * 2**30


class Clips(Protocol):
    """Clips with targets, by number.

    Attributes:
        targets: (M, 2) float32 valence and arousal.
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


class SoundClips:
    """Clips of sound: `load` gives (B, samples) float32 in [-1, 1] of one length.

    Clips with equally long spectrograms differ in length by less than a hop; the excess at their end is cut off, so
    that they can be batched. (Extraction cuts nothing.)
    """

    def __init__(
        self,
        tracks: Sequence[LabelledTrack],
        geometry: ClipGeometry,
        transform: AudioTransform,
        *,
        target_offset: int = 0,
        stride: int = 1,
    ) -> None:
        self._sounds: list[np.ndarray] = []
        self._tracks: list[str] = []
        self._shortest = transform.min_samples
        if transform.window_s is not None:
            self._shortest = max(self._shortest, round(transform.window_s * transform.sample_rate))
        self._hop = transform.hop_length
        spans, owners = [np.zeros((0, 2), dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
        targets = [np.zeros((0, 2), dtype=np.float32)]
        for track in tracks:
            clock = clock_frames(track.time_s, geometry.fps)
            if track.sound is None or not len(clock):
                continue
            ends = np.arange(0, len(clock), stride)
            span = clip_sound_spans(
                np.asarray(track.time_s)[clock],
                ends,
                clip_frames=geometry.clip_frames,
                sample_rate=transform.sample_rate,
                window_s=transform.window_s,
            )
            values, valid = clip_targets(track, clock, ends, target_offset)
            usable = valid & (span[:, 0] < len(track.sound))
            owners.append(np.full(int(usable.sum()), len(self._sounds)))
            spans.append(span[usable])
            targets.append(values[usable])
            self._sounds.append(track.sound)
            self._tracks.append(track.name)
        self._spans, self._owners = np.concatenate(spans), np.concatenate(owners)
        self.targets = np.concatenate(targets)
        self.shape_of = np.maximum(self._spans[:, 1] - self._spans[:, 0], self._shortest) // self._hop

    def load(self, chosen: np.ndarray) -> Tensor:
        """Clips (B, samples) float32, all with the same `shape_of`."""
        samples = int(self.shape_of[chosen[0]]) * self._hop
        spans = self._spans[chosen].tolist()
        sounds = [self._sounds[owner] for owner in self._owners[chosen]]
        pieces = [
            cut_sound(sound, start, stop, min_samples=self._shortest)[:samples]
            for sound, (start, stop) in zip(sounds, spans, strict=True)
        ]
        return torch.from_numpy(np.stack(pieces) / np.float32(32768))

    def names(self, chosen: np.ndarray) -> list[str]:
        """Tracks that the chosen clips are of, each once, in the order of the corpus."""
        return [self._tracks[owner] for owner in np.unique(self._owners[chosen])]


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
