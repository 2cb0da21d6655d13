"""Joint cross-attention, the paper's model (arXiv 2209.09068, equations 6-13; arXiv 2203.14779)."""

import math
from typing import Literal

import torch
from torch import nn

from avfusion.fusion.base import FusionModel, FusionOutput, RegressionHeads, StreamEncoder
from avfusion.fusion.correlation import correlate
from avfusion.fusion.neutral import Attending
from avfusion.fusion.registry import register_fusion
from avfusion.runtime.settings import Count, Share


class CrossAttention(Attending):
    """One stream's attention to the joint representation.

    With the stream X (d_m × L) and both streams stacked, J (d × L):

        C = tanh(X W_j Jᵀ / √d),   H = ReLU(W_c Cᵀ + W X ᵀ),   X_att = (W_hᵀ H)ᵀ + X

    C (d_m × d) correlates features over the L clips; it is not a clip-by-clip map. No weights have a bias.
    """

    def __init__(self, width: int, length: int, hidden: int) -> None:
        super().__init__()
        self.joint = nn.Linear(length, length, bias=False)  # W_j, L × L
        self.correlation = nn.Linear(2 * width, hidden, bias=False)  # W_c, k × d
        self.stream = nn.Linear(length, hidden, bias=False)  # W, k × L
        self.output = nn.Linear(hidden, length, bias=False)  # W_hᵀ, L × k

    def forward(self, stream: torch.Tensor, joint: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Attend (B, L, d_m) to (B, L, d); returns the attended stream (B, L, d_m) and C (B, d_m, d)."""
        if self.neutral is not None:
            hidden = torch.relu(_times(self.stream.weight, stream))
            correlation = hidden.new_zeros(len(stream), stream.shape[-1], joint.shape[-1])
            return _times(self.output.weight, hidden) + stream, correlation
        # Scaling W_j, the smallest factor, saves a pass over the (B, d_m, d) correlation.
        keys = _times(self.joint.weight.T / math.sqrt(joint.shape[-1]), stream)
        weight = self.correlation.weight.to(keys.dtype)
        hidden, correlation = correlate(keys, joint.to(keys.dtype), weight)  # W_c Cᵀ (B, k, d_m)
        hidden = torch.relu(hidden + _times(self.stream.weight, stream))
        return _times(self.output.weight, hidden) + stream, correlation


def _times(weight: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """W (n, m) times each matrix (B, m, d): (B, n, d)."""
    return torch.bmm(weight.expand(rows.shape[0], -1, -1), rows)


@register_fusion("jca")
class JointCrossAttention(FusionModel):
    """Joint cross-attention of audio and visual clips (arXiv 2209.09068).

    Args:
        encoder_width: d_a = d_v, width of each stream's encoder.
        k: rows of the attention weights W_c, W and W_h.
        dropout: dropout in the heads.
        released_concat: the published code's head input [raw visual ; attended visual], without attended audio; a
            mistake, as its author agreed, kept for comparison.
        head_hidden: width of the heads' hidden layer.
        attention: false trains the control: C is 0, in training and after.
    """

    neutral_form = "C = 0"

    def __init__(
        self,
        *,
        audio_dim: int = 512,
        visual_dim: int = 512,
        length: int = 16,
        encoder_width: Count = 128,
        k: Count = 32,
        dropout: Share = 0.6,
        released_concat: bool = False,
        head_hidden: Count = 128,
        head: Literal["linear", "relu"] = "linear",
        attention: bool = True,
    ) -> None:
        super().__init__(audio_dim, visual_dim, length)
        self.released_concat = released_concat
        self.audio_encoder = StreamEncoder(audio_dim, encoder_width)
        self.visual_encoder = StreamEncoder(visual_dim, encoder_width)
        self.audio_attention = CrossAttention(encoder_width, length, k)
        self.visual_attention = CrossAttention(encoder_width, length, k)
        visual_width = visual_dim if released_concat else encoder_width
        self.heads = RegressionHeads(encoder_width + visual_width, head_hidden, dropout, relu=head == "relu")
        if not attention:
            self.train_without_attention()

    def fuse(
        self,
        audio: torch.Tensor,
        visual: torch.Tensor,
        audio_present: torch.Tensor,
        visual_present: torch.Tensor,
        valid: torch.Tensor,
    ) -> FusionOutput:
        """See `FusionModel.fuse`; `maps` holds C of both streams, (B, d_m, d)."""
        x_a = self.audio_encoder(audio, audio_present, valid)
        x_v = self.visual_encoder(visual, visual_present, valid)
        joint = torch.cat([x_a, x_v], dim=-1)
        attended_a, map_a = self.audio_attention(x_a, joint)
        attended_v, map_v = self.visual_attention(x_v, joint)
        head_input = [visual, attended_v] if self.released_concat else [attended_v, attended_a]
        predictions = self.heads(torch.cat([part.to(attended_v.dtype) for part in head_input], dim=-1))
        return FusionOutput(
            predictions, attended_a, attended_v, {"audio_correlation": map_a, "visual_correlation": map_v}
        )
