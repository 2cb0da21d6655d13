"""The fusion network published with arXiv 2209.09068: spatial attention, dense co-attention, a BiLSTM.

It differs from the paper's joint cross-attention (`jca`), and exists to use the published weights.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avfusion.fusion.base import FusionModel, FusionOutput, RegressionHeads
from avfusion.fusion.dense_coattention import DenseCoAttention
from avfusion.fusion.neutral import Attending
from avfusion.fusion.registry import register_fusion
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.settings import Share

WIDTH, SIDE, LENGTH = 512, 7, 16
POSITIONS = SIDE * SIDE


class SpatialAttention(Attending):
    """Audio-guided attention over the visual map: α = softmax(W_h tanh(W_v v + W_g a)) over 49 rows of the map."""

    def __init__(self) -> None:
        super().__init__()
        self.audio = nn.Linear(WIDTH, WIDTH)
        self.visual = nn.Linear(WIDTH, WIDTH)
        self.visual_score = nn.Linear(WIDTH, POSITIONS, bias=False)  # W_v
        self.audio_score = nn.Linear(WIDTH, POSITIONS, bias=False)  # W_g
        self.score = nn.Linear(POSITIONS, 1, bias=False)  # W_h
        self.context = nn.Linear(WIDTH, WIDTH)

    def forward(self, audio: Tensor, flat_map: Tensor) -> tuple[Tensor, Tensor]:
        """Audio (B, L, 512), maps (B, L, 25088) → attended visual (B, L, 512), α (B, L, 49)."""
        # Channels come first in the flat map, so a row mixes channels and positions, as in the published code, which
        # trained the weights that way.
        rows = flat_map.unflatten(-1, (POSITIONS, WIDTH))
        v, a = F.relu(self.visual(rows)), F.relu(self.audio(audio))
        scores = self.score(torch.tanh(self.visual_score(v) + self.audio_score(a)[..., None]))
        attention = (scores if self.neutral is None else torch.zeros_like(scores)).squeeze(-1).softmax(dim=-1)
        context = (attention[..., None, :] @ rows).squeeze(-2)
        return self.context(context), attention


class SequenceEncoder(nn.Module):
    """Bidirectional LSTM of two layers with learnt initial states; its input is concatenated to its output."""

    def __init__(self, hidden: int = 256) -> None:
        super().__init__()
        self.lstm = nn.LSTM(2 * WIDTH, hidden, num_layers=2, batch_first=True, bidirectional=True)
        self.init_hidden = nn.Parameter(torch.zeros(8, hidden))  # h₀ of 2 layers × 2 directions, then c₀
        self.linear = nn.Linear(2 * WIDTH + 2 * hidden, WIDTH)

    def forward(self, streams: Tensor) -> Tensor:
        """(B, L, 1024) → (B, L, 512) of length 1."""
        hidden, cell = self.init_hidden[:, None].expand(-1, streams.shape[0], -1).contiguous().chunk(2)
        # CPUs have no two-layer LSTM in float16, so mixed precision excludes it there.
        with torch.autocast("cpu", enabled=False):
            encoded, _ = self.lstm(streams.to(hidden.dtype), (hidden.contiguous(), cell.contiguous()))
        return F.normalize(self.linear(torch.cat([streams, encoded], dim=-1)), dim=-1)


@register_fusion("released_coattention")
class ReleasedCoAttention(FusionModel):
    """The published fusion network (code with arXiv 2209.09068), of fixed shape; `load_jointcam` fills it.

    Takes audio (B, 16, 512) and visual maps (B, 16, 512, 7, 7), or those flattened channel-major to (B, 16, 25088).
    Features are L2-normalised, not standardised by statistics of a training split.

    The network has no masks. An absent or padded clip enters as zeros, which normalisation keeps, but later biases turn
    them into signals that affect the other clips of the sequence. Predictions with neither stream mean nothing;
    inference replaces them from their neighbours.

    Args:
        audio_dim, visual_dim, length: must be 512, 512 (channels) and 16.
        dropout: dropout in co-attention and heads.
    """

    takes_maps = True
    head = "relu"
    neutral_form = "S = 0, uniform weights"
    fixed_sizes: ClassVar = {"audio_dim": WIDTH, "visual_dim": WIDTH, "length": LENGTH, "map_side": SIDE}

    def __init__(
        self, *, audio_dim: int = WIDTH, visual_dim: int = WIDTH, length: int = LENGTH, dropout: Share = 0.6
    ) -> None:
        if (audio_dim, visual_dim, length) != (WIDTH, WIDTH, LENGTH):
            raise BadInputError(
                f"{self.name} is of fixed shape: audio_dim {WIDTH}, visual_dim {WIDTH} (channels of maps) and length "
                f"{LENGTH} are needed, not {audio_dim}, {visual_dim} and {length}"
            )
        super().__init__(audio_dim, visual_dim, length)
        self.spatial_attention = SpatialAttention()
        self.co_attention = DenseCoAttention(WIDTH, WIDTH, LENGTH, dropout)
        self.sequence = SequenceEncoder()
        self.heads = RegressionHeads(WIDTH, dropout=dropout, relu=True)

    @property
    def visual_width(self) -> int:
        """Size of a flattened map."""
        return self.visual_dim * POSITIONS

    def set_standardisation(
        self, audio_mean: Tensor, audio_std: Tensor, visual_mean: Tensor, visual_std: Tensor
    ) -> None:
        """Do nothing: this network L2-normalises."""

    def _arrange(self, visual: Tensor) -> Tensor:
        if visual.ndim == 5 and visual.shape[2:] != (WIDTH, SIDE, SIDE):
            raise BadInputError(f"visual maps have shape {tuple(visual.shape)}, {self.name} takes (B, 16, 512, 7, 7)")
        if visual.shape[2:] == (WIDTH,):
            raise BadInputError(f"{self.name} takes visual maps, not pooled features: set backbones.output to map")
        return visual.flatten(2) if visual.ndim == 5 else visual

    @staticmethod
    def _standardise(features: Tensor, mean: Tensor, scale: Tensor, present: Tensor) -> Tensor:
        return torch.where(present[..., None], features.to(mean.dtype), 0)

    def fuse(
        self, audio: Tensor, visual: Tensor, audio_present: Tensor, visual_present: Tensor, valid: Tensor
    ) -> FusionOutput:
        """See `FusionModel.fuse`; `maps` holds α of the spatial attention, (B, L, 49)."""
        audio, visual = F.normalize(audio, dim=-1), F.normalize(visual, dim=-1)
        looked_at, attention = self.spatial_attention(audio, visual)
        (attended_v, _), (attended_a, _) = self.co_attention(looked_at, audio)
        fused = self.sequence(torch.cat([attended_v, attended_a], dim=-1))
        return FusionOutput(self.heads(fused), attended_a, attended_v, {"spatial_attention": attention})
