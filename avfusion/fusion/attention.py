"""A fusion model's attention over the clips of a track, from the maps and gates that it returns."""

import numpy as np
import torch

from avfusion.data.geometry import PADDING
from avfusion.data.settings import GeometrySettings
from avfusion.data.track_data import TrackData
from avfusion.fusion.base import FusionModel
from avfusion.fusion.inference import sequences_of
from avfusion.fusion.track_inference import track_reading

MOST_CHANNELS = 4  # of a gate
CHANNELS = {
    "gates": ("audio", "face"),
    "audio_weight": ("valence", "arousal"),
    "audio_gate": ("plain", "attended"),
    "visual_gate": ("plain", "attended"),
}


@torch.inference_mode()
def attention_over_time(
    model: FusionModel, track: TrackData, geometry: GeometrySettings, stride: int, *, batch_size: int = 256
) -> dict[str, np.ndarray]:
    """Attention to each of a track's T clips, by title; (T,) float64 each.

    Every map is reduced to a number per clip and sequence, and averaged over the sequences with the clip, weighted by
    their numbers of clips (sequences at a track's end are short).

    - gates (B, L, channels): themselves;
    - attention of clips to clips (B, L, L), of tokens to tokens (B, heads, 2 L, 2 L): what a clip receives; 1 is an
    even share; - attention between the streams of a clip (B, L, 2, 2): what a stream receives, likewise; - correlations
    of features over the sequence (B, d_m, d): their mean size with the audio and the visual half of the
      joint features, the same for all clips of a sequence.

    Maps of other shapes, such as over the pixels of a crop, are ignored.
    """
    clips = len(track.clip_ticks)
    if not clips:
        return {}
    device = next(model.parameters()).device
    reading = track_reading(model, track, geometry, stride)
    rows = sequences_of("overlap", clips, stride, model.length, reading.spacing, reading.hop)
    index = torch.from_numpy(rows).to(device)
    audio, visual = (torch.from_numpy(features).to(device) for features in (track.audio, track.visual))
    present = [torch.from_numpy(flags).to(device) for flags in (track.audio_present, track.visual_present)]
    totals: dict[str, torch.Tensor] = {}
    count = torch.zeros(clips, dtype=torch.float64, device=device)
    model.eval()
    for batch in index.split(batch_size):
        used, at = batch != PADDING, batch.clamp_min(0)
        maps = model(audio[at], visual[at], present[0][at], present[1][at], ~used).maps
        weight = used.sum(dim=1, keepdim=True).double().expand(used.shape)
        count.index_add_(0, batch[used], weight[used])
        for name, tensor in maps.items():
            for title, values in _per_clip(name, tensor.float(), used).items():
                total = totals.setdefault(title, torch.zeros_like(count))
                total.index_add_(0, batch[used], (values.double() * weight)[used])
    return {title: (total / count).cpu().numpy() for title, total in totals.items()}


def _per_clip(name: str, tensor: torch.Tensor, used: torch.Tensor) -> dict[str, torch.Tensor]:
    """A map as numbers (B, L) or (B, 1) by title."""
    length, title, shape = used.shape[1], name.replace("_", " "), tuple(tensor.shape[1:])
    if shape == (length, length):
        return {f"{title}, received": _received(tensor, used)}
    if len(shape) == 3 and shape[1:] == (2 * length, 2 * length):
        audio, visual = _received(tensor.mean(dim=1), torch.cat([used, used], dim=1)).chunk(2, dim=1)
        return {f"{title}, to audio": audio, f"{title}, to face": visual}
    if shape == (length, 2, 2):
        visual, audio = (2 * tensor.mean(dim=2)).unbind(dim=-1)
        return {f"{title}, to audio": audio, f"{title}, to face": visual}
    if len(shape) == 2 and shape[0] == length and shape[1] <= MOST_CHANNELS:
        numbers, known = tuple(map(str, range(1, shape[1] + 1))), CHANNELS.get(name, ())
        channels = known if len(known) == shape[1] else numbers
        return {f"{title}: {channel}": tensor[..., c] for c, channel in enumerate(channels)}
    if len(shape) == 2 and "correlation" in name:
        audio, visual = (half.mean(dim=(1, 2))[:, None] for half in tensor.abs().chunk(2, dim=2))
        return {f"{title}, with audio": audio, f"{title}, with face": visual}
    return {}


def _received(attention: torch.Tensor, used: torch.Tensor) -> torch.Tensor:
    """Attention (B, N, N) of rows to columns → what each column gets from the used rows, (B, N); 1: an even share."""
    weights = used.to(attention.dtype)
    return (attention * weights[..., None]).sum(dim=1)
