"""Joint cross-attention, the paper's model (arXiv 2209.09068, equations 6-13; arXiv 2203.14779)."""

import math
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Le
from torch import nn

from avfusion.fusion.base import FusionModel, FusionOutput, RegressionHeads, StreamEncoder
from avfusion.fusion.correlation import correlate, tanh_gain
from avfusion.fusion.neutral import Attending
from avfusion.fusion.registry import register_fusion
from avfusion.runtime.settings import Count, Share

ENCODED_VARIANCE = 1 / 3  # of a new linear layer's outputs for standardised features, as PyTorch draws its weights
DRAWN_VARIANCE = 1 / 3  # of its weights, times the width of its inputs


class CrossAttention(Attending):
    """One stream's attention to the joint representation.

    With the stream X (d_m × L) and both streams stacked, J (d × L):

        C = tanh(X W_j Jᵀ / √d),   H = ReLU(W_c Cᵀ + W X ᵀ),   X_att = (W_hᵀ H)ᵀ + X

    C (d_m × d) correlates features over the L clips; it is not a clip-by-clip map. No weights have a bias.

    Args:
        scale, std, dropout: `correlation_scale`, `correlation_std` and `correlation_dropout` of `jca`.
        variance: of the entries of X and J in C at the start; `std` is met for it.
    """

    def __init__(
        self,
        width: int,
        length: int,
        hidden: int,
        *,
        scale: Literal["width", "length", "learnt"] = "width",
        std: float = 0.0,
        dropout: float = 0.0,
        variance: float = ENCODED_VARIANCE,
    ) -> None:
        super().__init__()
        self.scale, self.dropout = scale, dropout
        self.joint = nn.Linear(length, length, bias=False)  # W_j, L × L
        self.correlation = nn.Linear(2 * width, hidden, bias=False)  # W_c, k × d
        self.stream = nn.Linear(length, hidden, bias=False)  # W, k × L
        self.output = nn.Linear(hidden, length, bias=False)  # W_hᵀ, L × k
        self.gain = nn.Parameter(torch.ones(())) if scale == "learnt" else None
        if std:
            terms = length if scale == "length" else 2 * width
            spread = variance * length * math.sqrt(DRAWN_VARIANCE / length / terms)
            with torch.no_grad():
                (self.joint.weight if self.gain is None else self.gain).mul_(tanh_gain(spread, std))

    def forward(
        self,
        stream: torch.Tensor,
        joint: torch.Tensor,
        normed: torch.Tensor | None = None,
        valid: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Attend (B, L, d_m) to (B, L, d); returns the attended stream (B, L, d_m) and C (B, d_m, d).

        Args:
            normed: X in C, where it differs from the stream that is attended.
            valid: (B, L) bool, not padded; the scale `length` asks for it.
        """
        if self.neutral is not None:
            hidden = torch.relu(_times(self.stream.weight, stream))
            correlation = hidden.new_zeros(len(stream), stream.shape[-1], joint.shape[-1])
            return _times(self.output.weight, hidden) + stream, correlation
        # Scaling W_j or X, the smallest factors, saves a pass over the (B, d_m, d) correlation.
        source, between = stream if normed is None else normed, self.joint.weight.T
        if self.scale == "length" and valid is not None:
            clips = valid.sum(dim=1).clamp_min(1)[:, None, None]
            source = source * (math.sqrt(valid.shape[1]) / clips.double()).to(source.dtype)
        else:
            between = between / math.sqrt(joint.shape[-1])
        keys = _times(between if self.gain is None else between * self.gain, source)
        weight, dropout = self.correlation.weight.to(keys.dtype), self.dropout if self.training else 0.0
        hidden, correlation = correlate(keys, joint.to(keys.dtype), weight, dropout)  # W_c Cᵀ (B, k, d_m)
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
        correlation_scale: factor of the product in C. `width`: 1/√d, the paper's. `length`: √L/n, where n clips of the
            sequence are not padded, so 1/√L in a full one: the product sums over clips, and C spreads alike for any n.
            `learnt`: a gain per stream, from 1, times 1/√d.
        correlation_norm: C sees each stream through a LayerNorm (arXiv 1607.06450); W and the sum see it as it is.
        correlation_std: standard deviation of C's entries at the start, in full sequences with both streams, by the
            size of W_j or of the learnt gain. 0: W_j as drawn, which gives .05 by default.
        correlation_dropout: dropout on C alone.
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
        correlation_scale: Literal["width", "length", "learnt"] = "width",
        correlation_norm: bool = False,
        correlation_std: Annotated[float, Ge(0), Le(0.9)] = 0.0,
        correlation_dropout: Share = 0.0,
    ) -> None:
        super().__init__(audio_dim, visual_dim, length)
        self.released_concat = released_concat
        self.audio_encoder = StreamEncoder(audio_dim, encoder_width)
        self.visual_encoder = StreamEncoder(visual_dim, encoder_width)
        self.audio_norm, self.visual_norm = (
            nn.LayerNorm(encoder_width) if correlation_norm else None for _ in range(2)
        )
        self.audio_attention, self.visual_attention = (
            CrossAttention(
                encoder_width,
                length,
                k,
                scale=correlation_scale,
                std=correlation_std,
                dropout=correlation_dropout,
                variance=1.0 if correlation_norm else ENCODED_VARIANCE,
            )
            for _ in range(2)
        )
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
        seen_a, seen_v = x_a, x_v
        if self.audio_norm is not None and self.visual_norm is not None:
            seen_a = torch.where(valid[..., None], self.audio_norm(x_a), 0)
            seen_v = torch.where(valid[..., None], self.visual_norm(x_v), 0)
        joint = torch.cat([seen_a, seen_v], dim=-1)
        attended_a, map_a = self.audio_attention(x_a, joint, seen_a, valid)
        attended_v, map_v = self.visual_attention(x_v, joint, seen_v, valid)
        head_input = [visual, attended_v] if self.released_concat else [attended_v, attended_a]
        predictions = self.heads(torch.cat([part.to(attended_v.dtype) for part in head_input], dim=-1))
        return FusionOutput(
            predictions, attended_a, attended_v, {"audio_correlation": map_a, "visual_correlation": map_v}
        )
