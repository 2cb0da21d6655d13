"""Co-attention applied several times over and a gate over its steps: what GRJCA (arXiv 2503.12261) and TAGF share."""

from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from torch import nn
from torch.nn import functional as F

from avfusion.fusion.base import FusionOutput, RegressionHeads, TwoStreamModel
from avfusion.fusion.dense_coattention import DenseCoAttention
from avfusion.fusion.jca import CrossAttention
from avfusion.fusion.temporal import BatchNormHead, TemporalEncoder

Attended = tuple[torch.Tensor, torch.Tensor]


class JointCoAttention(nn.Module):
    """Joint cross-attention of both streams (see `jca`), in the place of `DenseCoAttention`."""

    def __init__(self, width: int, length: int, k: int) -> None:
        super().__init__()
        self.audio = CrossAttention(width, length, k)
        self.visual = CrossAttention(width, length, k)

    def forward(self, visual: torch.Tensor, audio: torch.Tensor, valid: torch.Tensor) -> tuple[Attended, Attended]:
        """Visual and audio (B, L, d_m), each as (attended, C); zero where not `valid` (B, L), in and out."""
        joint = torch.cat([audio, visual], dim=-1)
        (x_v, map_v), (x_a, map_a) = self.visual(visual, joint), self.audio(audio, joint)
        return (torch.where(valid[..., None], x_v, 0), map_v), (torch.where(valid[..., None], x_a, 0), map_a)


class RecursiveCoAttention(nn.Module):
    """X_m⁰ = X_m / ‖X_m‖ by rows; X_mᵗ = co-attention of X_mᵗ⁻¹ to both streams, with weights of its own in each step.

    Both streams are attended from the same pair; no step is normalised but the first.

    Args:
        k: rows of joint cross-attention's weights; None: dense co-attention.
    """

    def __init__(
        self, visual_width: int, audio_width: int, length: int, *, iterations: int, k: int | None, dropout: float
    ) -> None:
        super().__init__()
        self.kind = "similarity" if k is None else "correlation"
        self.steps = nn.ModuleList(
            DenseCoAttention(visual_width, audio_width, length, dropout)
            if k is None
            else JointCoAttention(visual_width, length, k)
            for _ in range(iterations)
        )

    def forward(
        self, visual: torch.Tensor, audio: torch.Tensor, valid: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        """Visual and audio (B, L, d_m), zero where not `valid` → their states (B, L, T + 1, d_m), maps (B, d_m, d)."""
        states_v, states_a = [F.normalize(visual, dim=-1)], [F.normalize(audio, dim=-1)]
        maps: dict[str, torch.Tensor] = {}
        for number, step in enumerate(self.steps, start=1):
            (x_v, map_v), (x_a, map_a) = step(states_v[-1], states_a[-1], valid)
            states_v.append(x_v)
            states_a.append(x_a)
            maps |= {f"audio_{self.kind}_{number}": map_a, f"visual_{self.kind}_{number}": map_v}
        return torch.stack(states_v, dim=2), torch.stack(states_a, dim=2), maps


class GatedRecursion(TwoStreamModel):
    """Base of models with a gate over the states of recursive co-attention:

    T_m = BN(TCN_m(X_m)),   F_m = gate(X_m⁰ … X_m^T),   y = head([F_v ; F_a])

    Args:
        gate: makes a stream's gate, of its width: a module from states (B, L, T + 1, width) to their mix
            (B, L, width) and its weights by name (B, L, choices).

    The other arguments are the options of `grjca`.
    """

    neutral_form = "S = 0 in every step, gates at work"
    frame_level = True
    control_model: ClassVar = {"model": "temporal_concat"}

    def __init__(
        self,
        audio_dim: int,
        visual_dim: int,
        length: int,
        encoder_width: int,
        *,
        iterations: int,
        attention: Literal["dense", "joint"],
        k: int,
        temporal: Literal["tcn", "none"],
        kernel: int,
        blocks: int,
        temporal_dropout: float,
        dropout: float,
        head: Literal["linear", "relu", "batchnorm"],
        head_hidden: int,
        gate: Callable[[int], nn.Module],
    ) -> None:
        super().__init__(audio_dim, visual_dim, length, encoder_width)
        self.audio_temporal, self.visual_temporal = (
            TemporalEncoder(encoder_width, (encoder_width,) * blocks, kernel, temporal_dropout)
            if temporal == "tcn"
            else None
            for _ in range(2)
        )
        if temporal == "none":  # the gradient of a norm is unbounded at zero
            for encoder in (self.audio_encoder, self.visual_encoder):
                nn.init.normal_(encoder.missing, std=0.1)
        self.attention = RecursiveCoAttention(
            encoder_width,
            encoder_width,
            length,
            iterations=iterations,
            k=k if attention == "joint" else None,
            dropout=dropout,
        )
        self.audio_gate, self.visual_gate = gate(encoder_width), gate(encoder_width)
        self.heads: nn.Module = (
            BatchNormHead(2 * encoder_width, head_hidden)
            if head == "batchnorm"
            else RegressionHeads(2 * encoder_width, head_hidden, dropout, relu=head == "relu")
        )

    def fuse_encoded(self, x_a: torch.Tensor, x_v: torch.Tensor, valid: torch.Tensor) -> FusionOutput:
        """See `TwoStreamModel.fuse_encoded`.

        `maps` holds the weights of both streams' gates (B, L, choices), and of each step the similarities S or, with
        joint cross-attention, the correlations C (B, d_m, d).
        """
        if self.audio_temporal is not None and self.visual_temporal is not None:
            x_a, x_v = self.audio_temporal(x_a, valid), self.visual_temporal(x_v, valid)
        # A norm in half precision is zero for short rows.
        states_v, states_a, maps = self.attention(x_v.to(self.visual_mean.dtype), x_a.to(self.audio_mean.dtype), valid)
        fused_a, gates_a = self.audio_gate(states_a)
        fused_v, gates_v = self.visual_gate(states_v)
        maps |= {f"audio_{name}": gates for name, gates in gates_a.items()}
        maps |= {f"visual_{name}": gates for name, gates in gates_v.items()}
        predictions = self.heads(torch.cat([fused_v, fused_a], dim=-1), valid)
        return FusionOutput(predictions, fused_a, fused_v, maps)
