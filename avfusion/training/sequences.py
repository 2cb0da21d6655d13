"""Training sequences as indices into one table of all clips, so that a batch is one gather."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from avfusion.data.geometry import PADDING, clips_apart, training_sequences, windows
from avfusion.data.track_data import TrackData
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.training.mapped_features import MappedFeatures, feature_table

STATISTICS_ROWS = 2048  # vectors converted to float64 at a time, which takes four times their stored size


@dataclass(frozen=True)
class Batch:
    """Sequences ready for a fusion model: features (B, L, …), masks (B, L), targets (B, L, 2)."""

    audio: torch.Tensor
    visual: torch.Tensor
    audio_present: torch.Tensor
    visual_present: torch.Tensor
    padding: torch.Tensor
    targets: torch.Tensor
    valid: torch.Tensor


@dataclass(frozen=True)
class SequenceData:
    """All clips of a split in one table, and sequences of its rows.

    Attributes:
        audio: (N, D_a) features of the clips of all tracks, track after track, as stored.
        visual: (N, D_v), or maps (N, C, H, W); `feature_table` decides where both streams are kept.
        targets: (N, 2) float32 labels, 0 where not valid.
        index: (S, L) rows of the table, every row once (in windows: at least once); -1 is padding.
        owner: (S,) index of each sequence's track.
        clips: number of clips of each track, in the order of the table; with the fields below for `redrawn`.
    """

    audio: torch.Tensor | MappedFeatures
    visual: torch.Tensor | MappedFeatures
    audio_present: torch.Tensor
    visual_present: torch.Tensor
    targets: torch.Tensor
    valid: torch.Tensor
    index: torch.Tensor
    owner: torch.Tensor
    tracks: tuple[str, ...]
    clips: tuple[int, ...] = ()
    stride: int = 1
    spacing: int = 32
    hop: int | None = None

    def __len__(self) -> int:
        return len(self.index)

    def batch(self, rows: torch.Tensor) -> Batch:
        """The sequences `rows` (B,), features in float32."""
        index = self.index[rows]
        padding = index == PADDING
        at = index.clamp_min(0)
        return Batch(
            audio=self.audio[at].float(),
            visual=self.visual[at].float(),
            audio_present=self.audio_present[at] & ~padding,
            visual_present=self.visual_present[at] & ~padding,
            padding=padding,
            targets=self.targets[at],
            valid=self.valid[at] & ~padding,
        )

    def redrawn(self, generator: torch.Generator) -> "SequenceData":
        """The same clips, each once and at any place of a sequence with equal chance.

        A track's sequences begin 0 to L - 1 places before its first clip, drawn for each set of clips that follow each
        other (`training_sequences`). Windows lie 0 to hop - 1 rows earlier (`windows`).
        """
        length = self.index.shape[1]
        places = (length, clips_apart(self.stride, self.spacing)) if self.hop is None else (self.hop, 1)
        shifts = torch.randint(places[0], (len(self.clips), places[1]), generator=generator).numpy()
        index, owner = _sequences_of_tracks(self.clips, self.stride, length, self.spacing, self.hop, shifts)
        return replace(self, index=torch.from_numpy(index).to(self.index.device), owner=torch.from_numpy(owner))

    def batches(self, size: int) -> Iterator[Batch]:
        """All sequences in their order, `size` at a time, without batches of fewer than two valid clips."""
        for rows in torch.arange(len(self)).split(size):
            batch = self.batch(rows)
            if int(batch.valid.sum()) >= 2:
                yield batch

    def names(self, rows: torch.Tensor) -> list[str]:
        """Names of the tracks of the sequences `rows`, sorted."""
        return sorted({self.tracks[owner] for owner in self.owner[rows].tolist()})

    def statistics(self) -> dict[str, torch.Tensor]:
        """Mean and standard deviation of each stream's features over its present clips, for `set_standardisation`.

        Visual maps are averaged to vectors first.
        """
        found: dict[str, torch.Tensor] = {}
        for stream in ("audio", "visual"):
            mean, std = _moments(getattr(self, stream), getattr(self, f"{stream}_present"))
            found |= {f"{stream}_mean": mean.float(), f"{stream}_std": std.float()}
        return found


def drop_streams(batch: Batch, share: float, generator: torch.Generator) -> Batch:
    """Modality dropout: a random `share` of the sequences loses one stream, each with equal chance.

    Clips left without any stream do not count in the loss. Draws from `generator` only if `share` > 0.
    """
    if share <= 0:
        return batch
    draw = torch.rand(2, len(batch.audio), 1, generator=generator).to(batch.audio.device)
    lost, audio = draw[0] < share, draw[1] < 0.5
    audio_present, visual_present = batch.audio_present & ~(lost & audio), batch.visual_present & ~(lost & ~audio)
    return Batch(
        batch.audio,
        batch.visual,
        audio_present,
        visual_present,
        batch.padding,
        batch.targets,
        batch.valid & (audio_present | visual_present),
    )


def _moments(features: torch.Tensor | MappedFeatures, present: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation (D,) of the present rows, in float64, part by part; (0, 1) without present rows."""
    rows = present.nonzero().flatten()
    if not len(rows):
        return torch.zeros(features.shape[1]), torch.ones(features.shape[1])

    parts = rows.split(max(1, STATISTICS_ROWS // math.prod(features.shape[2:])))

    def total(of: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        # In one tensor: keeping a small tensor of every part would leave holes of a part's size in memory.
        sums = torch.empty(len(parts), features.shape[1], dtype=torch.float64, device=rows.device)
        for place, at in zip(sums, parts, strict=True):
            vectors = features[at].double()
            place.copy_(of(vectors.mean(dim=(2, 3)) if vectors.ndim == 4 else vectors).sum(0))
        return sums.sum(0) / len(rows)

    mean = total(lambda vectors: vectors)
    return mean, total(lambda vectors: (vectors - mean) ** 2).sqrt()


def _sequences_of_tracks(
    clips: Sequence[int],
    stride: int,
    length: int,
    spacing: int,
    hop: int | None = None,
    shifts: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the table of all clips by sequence, (S, length), and each one's track (S,); `shifts`: a row per track."""
    index, owner, start = [], [], 0
    for number, count in enumerate(clips):
        own = None if shifts is None else shifts[number]
        if hop is None:
            rows = training_sequences(count, stride, length, spacing, own)
        else:
            rows = windows(count, length, hop, 0 if own is None else int(own[0]))
        index.append(np.where(rows == PADDING, PADDING, rows + start))
        owner.append(np.full(len(rows), number))
        start += count
    return np.concatenate(index), np.concatenate(owner)


def sequence_data(
    tracks: Sequence[TrackData],
    *,
    stride: int,
    length: int = 16,
    spacing: int = 32,
    hop: int | None = None,
    device: str = "cpu",
) -> SequenceData:
    """Put the clips of all tracks into one table on `device`.

    Maps, and features without room on `device`, stay in place and are moved batch by batch.

    Args:
        length, spacing, hop: see `avfusion.fusion.reading.Reading`.

    Raises:
        BadInputError: there is no track, or no clip with a valid label.
        AVFusionError: a feature is NaN or infinite; the message names track and clip.
    """
    if not tracks:
        raise BadInputError("there is no training track with features: look at data/corpus/tracks.parquet")
    for track in tracks:
        check_finite(track)
    clips = tuple(len(track.clip_ticks) for track in tracks)
    index, owner = _sequences_of_tracks(clips, stride, length, spacing, hop)
    targets, valid = zip(*(track_targets(track) for track in tracks), strict=True)
    if not any(mask.any() for mask in valid):
        raise BadInputError("no clip of the training tracks has a valid label: look at data/labels/")

    def table(arrays: Sequence[np.ndarray]) -> torch.Tensor:
        return torch.from_numpy(np.concatenate(arrays)).to(device)

    return SequenceData(
        audio=feature_table([track.audio for track in tracks], device),
        visual=feature_table([track.visual for track in tracks], device),
        audio_present=table([track.audio_present for track in tracks]),
        visual_present=table([track.visual_present for track in tracks]),
        targets=table(targets),
        valid=table(valid),
        index=torch.from_numpy(index).to(device),
        owner=torch.from_numpy(owner),
        tracks=tuple(track.track for track in tracks),
        clips=clips,
        stride=stride,
        spacing=spacing,
        hop=hop,
    )


def track_targets(track: TrackData) -> tuple[np.ndarray, np.ndarray]:
    """Targets (T, 2) of a track's clips and which clips count, (T,): those with a label and at least one stream."""
    inside = track.target_frames >= 0
    at = np.where(inside, track.target_frames, 0)
    valid = inside & track.valid[at] & (track.audio_present | track.visual_present)
    return np.where(valid[:, None], track.labels[at], 0).astype(np.float32), valid


def check_finite(track: TrackData) -> None:
    """Refuse NaN and infinities in the features of present clips.

    Raises:
        AVFusionError: a feature is not finite; the message names stream, track and clip.
    """
    for stream in ("audio", "visual"):
        features, present = getattr(track, stream), getattr(track, f"{stream}_present")
        rows = max(1, STATISTICS_ROWS // math.prod(features.shape[2:]))
        parts = [features[start : start + rows] for start in range(0, len(features), rows)]
        finite = [np.isfinite(part).reshape(len(part), -1).all(axis=1) for part in parts]
        if (bad := np.flatnonzero(present & ~np.concatenate([np.zeros(0, bool), *finite]))).size:
            raise AVFusionError(
                f"{stream} features of track {track.track} are not finite, first in clip {bad[0]} of {len(features)} "
                f"(stage features): delete data/features/{track.track}.safetensors and run that stage again"
            )
