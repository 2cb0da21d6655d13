"""The networks of two papers' code: recursive joint attention (arXiv 2304.07958), dynamic attention (arXiv 2403.19554).

Both encode each stream and their joint representation by two-layer BiLSTMs, and have dense co-attention in the place of
the papers' joint cross-attention.
"""

import torch
from torch import nn
from torch.nn import functional as F

from avfusion.fusion.base import FusionOutput, RegressionHeads
from avfusion.fusion.dense_coattention import DenseCoAttention
from avfusion.fusion.neutral import Attending
from avfusion.fusion.published_forms.filled_rows import FilledRows
from avfusion.fusion.recurrent import RecurrentEncoder


class NormalisedEncoder(nn.Module):
    """Rows of length 1 into a `RecurrentEncoder`; absent clips are the stream's learnt token, padded clips zero.

    The token stands for the normalised row, since the gradient of a norm is unbounded at a zero token.
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.filled = FilledRows(dim)
        self.encoder = RecurrentEncoder(dim, width)

    def forward(self, features: torch.Tensor, present: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """(B, L, dim) → (B, L, width); `present` implies `valid`."""
        rows = F.normalize(features, dim=-1)
        return self.encoder(self.filled(rows, present, valid), valid)


class StepGate(Attending):
    """A clip's choice between a stream before and after co-attention:

    g = softmax((X^T W_g + b) / temperature) ∈ R²,   ReLU(g₀ X⁰ + g₁ X^T)
    """

    def __init__(self, name: str, width: int, temperature: float) -> None:
        super().__init__()
        self.name = name  # of the gates among the model's maps
        self.temperature = temperature
        self.linear = nn.Linear(width, 2)

    def forward(self, plain: torch.Tensor, attended: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Two (B, L, width) → the mix (B, L, width), g (B, L, 2: plain, attended)."""
        gates = self.hold(self.name, (self.linear(attended) / self.temperature).softmax(dim=-1))
        first, second = gates.split(1, dim=-1)
        return F.relu(first * plain + second * attended), gates


class RecurrentCoAttention(nn.Module):
    """X_m⁰ = encoder(x_m); T steps of dense co-attention, each with its own weights; z = encoder([X_v ; X_a]); heads.

    Args:
        widths: of the encoders of audio, visual and both, even.
        steps: T.
        temperature: of a gate per clip between X_m⁰ and X_m^T (steps between are no choice); None: no gate.
        dropout: in co-attention and heads.
    """

    def __init__(
        self,
        audio_dim: int,
        visual_dim: int,
        length: int,
        *,
        widths: tuple[int, ...],
        steps: int,
        temperature: float | None = None,
        dropout: float,
        head_hidden: int,
    ) -> None:
        super().__init__()
        audio_width, visual_width, joint_width = widths
        self.audio_encoder = NormalisedEncoder(audio_dim, audio_width)
        self.visual_encoder = NormalisedEncoder(visual_dim, visual_width)
        self.attention = nn.ModuleList(
            DenseCoAttention(visual_width, audio_width, length, dropout) for _ in range(steps)
        )
        self.audio_gate, self.visual_gate = (
            None if temperature is None else StepGate(name, width, temperature)
            for name, width in (("audio_gate", audio_width), ("visual_gate", visual_width))
        )
        self.joint_encoder = RecurrentEncoder(audio_width + visual_width, joint_width)
        self.heads = RegressionHeads(joint_width, head_hidden, dropout, relu=True)

    def forward(
        self,
        audio: torch.Tensor,
        visual: torch.Tensor,
        audio_present: torch.Tensor,
        visual_present: torch.Tensor,
        valid: torch.Tensor,
    ) -> FusionOutput:
        """See `FusionModel.fuse`; `maps` holds S of both streams in each step (B, d_m, d), and gates (B, L, 2)."""
        plain_a = x_a = self.audio_encoder(audio, audio_present, valid)
        plain_v = x_v = self.visual_encoder(visual, visual_present, valid)
        maps = {}
        for step, attention in enumerate(self.attention, start=1):
            found_v, found_a = attention(x_v, x_a, valid)
            x_v, maps[f"visual_similarity_{step}"] = found_v
            x_a, maps[f"audio_similarity_{step}"] = found_a
        if self.audio_gate is not None and self.visual_gate is not None:
            x_a, maps["audio_gate"] = self.audio_gate(plain_a, x_a)
            x_v, maps["visual_gate"] = self.visual_gate(plain_v, x_v)
        fused = self.joint_encoder(torch.cat([x_v, x_a], dim=-1), valid)
        return FusionOutput(self.heads(fused), x_a, x_v, maps)
