"""Clips of sound."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from avfusion.data.audio import cut_sound
from avfusion.data.clips.clips import clip_targets
from avfusion.data.feature_spec import AudioTransform, ClipGeometry
from avfusion.data.geometry import clip_sound_spans, clock_frames
from avfusion.data.labelled_tracks import LabelledTrack


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
