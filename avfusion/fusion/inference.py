"""Predict clips and video frames from the features of a track: the package's only inference."""

from typing import Literal

import numpy as np
import torch

from avfusion.data.geometry import (
    PADDING,
    causal_sequences,
    interpolate_to_frames,
    overlap_sequences,
    training_sequences,
    windows,
)
from avfusion.fusion.base import FusionModel
from avfusion.runtime.errors import AVFusionError

BATCH, MAP_BATCH = 64, 32  # sequences; larger batches exceed the processor's cache, and maps take a megabyte each

Mode = Literal["overlap", "tile", "causal"]
_SEQUENCES = {"overlap": overlap_sequences, "tile": training_sequences, "causal": causal_sequences}


class NotFiniteError(AVFusionError):
    """A model gives NaN or infinity."""


def predict_frames(
    model: FusionModel,
    audio: np.ndarray,
    visual: np.ndarray,
    audio_present: np.ndarray,
    visual_present: np.ndarray,
    *,
    clip_ticks: np.ndarray,
    frame_ticks: np.ndarray,
    stride: int,
    spacing: int = 32,
    hop: int | None = None,
    mode: Mode = "overlap",
    target_offset: int = 0,
    spread: bool = False,
) -> np.ndarray:
    """Predict valence and arousal of every video frame of a track, on the model's device.

    Args:
        model, audio, visual, audio_present, visual_present, stride, spacing, hop, mode: as for `predict_clips`.
        clip_ticks: (T,) clock ticks at which the clips end.
        frame_ticks: (N,) position of every video frame on the clock.
        target_offset: ticks from a clip's end to the time that its prediction describes.
        spread: return the standard deviations over the sequence positions, too.

    Returns:
        (N, 2) float32 in [-1, 1]: linear between clips, held outside; NaN if no clip of the track has a stream. With
        `spread` (N, 4): followed by the standard deviations, NaN where a clip has only one position.

    Raises:
        NotFiniteError: the model gives NaN or infinity, since its weights overflow.
    """
    device = next(model.parameters()).device
    clips, deviations = predict_clips(
        model,
        *(torch.from_numpy(array).to(device) for array in (audio, visual, audio_present, visual_present)),
        stride=stride,
        spacing=spacing,
        hop=hop,
        mode=mode,
    )
    if not len(clips):
        return np.full((len(frame_ticks), 4 if spread else 2), np.nan, np.float32)
    frames = np.clip(interpolate_to_frames(clips, clip_ticks, frame_ticks, target_offset), -1, 1)
    if (audio_present | visual_present).any():
        _refuse_not_finite(frames)
    if not spread:
        return frames
    index = sequences_of(mode, len(clips), stride, model.length, spacing, hop)
    deviations[_positions(index, mode, len(clips)) < 2] = np.nan
    return np.concatenate([frames, interpolate_to_frames(deviations, clip_ticks, frame_ticks, target_offset)], axis=1)


def sequences_of(mode: Mode, clips: int, stride: int, length: int, spacing: int, hop: int | None) -> np.ndarray:
    """The sequences (S, length) by which clips are predicted; -1 is padding."""
    if mode == "overlap" and hop is not None:
        return windows(clips, length, hop)
    return _SEQUENCES[mode](clips, stride, length, spacing)


def _positions(index: np.ndarray, mode: Mode, clips: int) -> np.ndarray:
    """Number of sequence positions by which each clip is predicted, (clips,)."""
    used = index[:, -1:] if mode == "causal" else index
    return np.bincount(used[used != PADDING], minlength=clips)


@torch.inference_mode()
def predict_clips(
    model: FusionModel,
    audio: torch.Tensor,
    visual: torch.Tensor,
    audio_present: torch.Tensor,
    visual_present: torch.Tensor,
    *,
    stride: int,
    spacing: int = 32,
    hop: int | None = None,
    mode: Mode = "overlap",
    batch_size: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Predict valence and arousal of every clip of a track.

    Args:
        model: the fusion model; runs in eval mode and keeps its own mode.
        audio: (T, D_a) features of the track's clips, `stride` frames apart.
        visual: (T, D_v) or (T, C, H, W).
        audio_present: (T,) bool.
        visual_present: (T,) bool.
        spacing: frames between neighbours in a sequence: a clip's, or in windows `stride`.
        hop: clips between the starts of windows, for a model that reads windows of frames; None: it reads clips.
        mode: `overlap`: mean over the up to L sequence positions of the clip, or over the windows that hold it; `tile`:
            each clip in one sequence (as published: those of training), or windows side by side; `causal`: each clip is
            the last of its sequence, so that nothing after it is used.
        batch_size: sequences at a time; None: a number that surely fits into memory.

    Returns:
        Predictions (T, 2) float32, and their standard deviation (T, 2) over the sequence positions (0 for `tile` and
        `causal`). Values of a clip with neither stream are interpolated from its neighbours and held at the ends; with
        `causal` they are those of the last clip with a stream. All are NaN if no clip has a stream.
    """
    clips = len(audio)
    if clips == 0:
        return np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32)
    index = torch.from_numpy(sequences_of(mode, clips, stride, model.length, spacing, hop)).to(audio.device)
    if visual.ndim > 2 and model.visual_width == model.visual_dim:
        # The model averages maps; averaging here does it once per clip, not once per sequence with the clip.
        visual = torch.cat([part.float().mean(dim=(2, 3)) for part in visual.split(MAP_BATCH)])
    training = model.training
    model.eval()
    total = torch.zeros(clips, 2, dtype=torch.float64, device=audio.device)
    square, count = torch.zeros_like(total), torch.zeros(clips, 1, dtype=torch.float64, device=audio.device)
    for batch in index.split(batch_size or (BATCH if visual.ndim == 2 else MAP_BATCH)):
        padding = batch == PADDING
        gather = batch.clamp_min(0)
        out = model(audio[gather], visual[gather], audio_present[gather], visual_present[gather], padding).predictions
        used = ~padding
        if mode == "causal":
            used = used & (torch.arange(model.length, device=used.device) == model.length - 1)
        values, where = out[used].double(), batch[used]
        total.index_add_(0, where, values)
        square.index_add_(0, where, values**2)
        count.index_add_(0, where, torch.ones_like(values[:, :1]))
    model.train(training)
    mean = total / count
    spread = (square / count - mean**2).clamp_min(0).sqrt()
    present = (audio_present | visual_present).cpu().numpy()
    hold = _hold_last if mode == "causal" else _hold
    return tuple(hold(array.float().cpu().numpy(), present) for array in (mean, spread))  # type: ignore[return-value]


@torch.inference_mode()
def predict_latest(
    model: FusionModel,
    audio: torch.Tensor,
    visual: torch.Tensor,
    audio_present: torch.Tensor,
    visual_present: torch.Tensor,
    *,
    stride: int,
    spacing: int = 32,
) -> np.ndarray:
    """Valence and arousal (2,) float32 of the last of T clips, as `predict_clips` in mode `causal`.

    Args:
        audio, visual, audio_present, visual_present, stride, spacing: as for `predict_clips`; clips before the last
            clip's sequence may be omitted.

    Raises:
        NotFiniteError: as `predict_frames`.
    """
    sequence = causal_sequences(len(audio), stride, model.length, spacing)[-1:]
    index = torch.from_numpy(sequence).to(audio.device)
    gather = index.clamp_min(0)
    inputs = (values[gather] for values in (audio, visual, audio_present, visual_present))
    values: np.ndarray = model(*inputs, index == PADDING).predictions[0, -1].float().cpu().numpy()
    _refuse_not_finite(values)
    return values


def _refuse_not_finite(predictions: np.ndarray) -> None:
    if not np.isfinite(predictions).all():
        raise NotFiniteError("the model's predictions are not finite")


def _hold(values: np.ndarray, present: np.ndarray) -> np.ndarray:
    if not present.any():
        return np.full_like(values, np.nan)
    here = np.flatnonzero(present)
    columns = [np.interp(np.arange(len(values)), here, values[here, c]) for c in range(values.shape[1])]
    return np.stack(columns, axis=1).astype(np.float32)


def _hold_last(values: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Hold values from the past alone; before the first clip with a stream, use its values."""
    if not present.any():
        return np.full_like(values, np.nan)
    latest = np.maximum.accumulate(np.where(present, np.arange(len(values)), present.argmax()))
    return values[latest].astype(np.float32)
