"""From the features of a track to one prediction per clip: the one inference function of the package."""

from typing import Literal

import numpy as np
import torch

from avfusion.data.geometry import PADDING, causal_sequences, overlap_sequences, training_sequences
from avfusion.fusion.base import FusionModel

Mode = Literal["overlap", "tile", "causal"]
_SEQUENCES = {"overlap": overlap_sequences, "tile": training_sequences, "causal": causal_sequences}


@torch.inference_mode()
def predict_clips(
    model: FusionModel,
    audio: torch.Tensor,
    visual: torch.Tensor,
    audio_present: torch.Tensor,
    visual_present: torch.Tensor,
    *,
    stride: int,
    clip_frames: int = 32,
    mode: Mode = "overlap",
    batch_size: int = 256,
) -> tuple[np.ndarray, np.ndarray]:
    """Predict valence and arousal of every clip of a track.

    Args:
        model: the fusion model; it is run in eval mode and left in the mode that it was in.
        audio: (T, D_a) features of the track's clips, `stride` frames apart.
        visual: (T, D_v) or (T, C, H, W).
        audio_present: (T,) bool.
        visual_present: (T,) bool.
        mode: `overlap`: mean over the up to L sequence positions that hold the clip; `tile`: the sequences of
            training, each clip once (the published way); `causal`: the clip is the last of its sequence, so that
            nothing after it is used.

    Returns:
        Predictions (T, 2) float32, and their standard deviation (T, 2) over the sequence positions (0 for `tile` and
        `causal`). A clip with neither stream takes the values interpolated from its neighbours, held at the ends;
        where no clip has a stream, all are NaN.
    """
    clips = len(audio)
    if clips == 0:
        return np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32)
    index = torch.from_numpy(_SEQUENCES[mode](clips, stride, model.length, clip_frames)).to(audio.device)
    training = model.training
    model.eval()
    total = torch.zeros(clips, 2, dtype=torch.float64, device=audio.device)
    square, count = torch.zeros_like(total), torch.zeros(clips, 1, dtype=torch.float64, device=audio.device)
    for batch in index.split(batch_size):
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
    return tuple(_hold(array.float().cpu().numpy(), present) for array in (mean, spread))  # type: ignore[return-value]


def _hold(values: np.ndarray, present: np.ndarray) -> np.ndarray:
    if not present.any():
        return np.full_like(values, np.nan)
    here = np.flatnonzero(present)
    columns = [np.interp(np.arange(len(values)), here, values[here, c]) for c in range(values.shape[1])]
    return np.stack(columns, axis=1).astype(np.float32)
