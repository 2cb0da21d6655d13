"""Time-aware gated fusion, TAGF: a BiLSTM over the steps of recursive co-attention weighs them (arXiv 2507.02080)."""

from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from avfusion.fusion.recursive_coattention import GatedRecursion
from avfusion.fusion.registry import register_fusion
from avfusion.runtime.settings import Count, Positive, Share


class TimeAwareGate(nn.Module):
    """A clip's mix of its states Z = [X⁰ ; … ; X^T], a sequence of T + 1 rows (not of clips):

        R = BiLSTM(Z),   E = rownorm(Lin([Z ; R])),   w = softmax(mean(E) / temperature),   F = Σ_t w_t X^t

    A row of E has length 1, so its mean is at most 1/√(2d): two weights differ by at most exp(2 / (temperature √(2d))),
    a factor of 3.5 for width d = 128. `score: linear` lifts that: w = softmax(Lin(E) / temperature), without row norm.
    """

    def __init__(self, width: int, temperature: float, score: Literal["mean", "linear"], dropout: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.lstm = nn.LSTM(width, width, batch_first=True, bidirectional=True)
        self.start = nn.Parameter(torch.zeros(4, width))  # h₀ forward, backward, c₀ forward, backward
        self.linear = nn.Linear(3 * width, 2 * width)
        self.dropout = nn.Dropout(dropout)
        self.score = nn.Linear(2 * width, 1) if score == "linear" else None

    def forward(self, states: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """States (B, L, T + 1, width) → the mix (B, L, width), `gate` (B, L, T + 1)."""
        rows = states.flatten(0, 1)
        hidden, cell = self.start[:, None].expand(-1, rows.shape[0], -1).chunk(2)
        # CPUs have no recurrent layers in float16, so mixed precision excludes them there.
        with torch.autocast("cpu", enabled=False):
            recurrent, _ = self.lstm(rows.to(hidden.dtype), (hidden.contiguous(), cell.contiguous()))
        encoded = self.linear(self.dropout(torch.cat([rows, recurrent], dim=-1))).to(rows.dtype)
        scores = F.normalize(encoded, dim=-1).mean(dim=-1) if self.score is None else self.score(encoded)[..., 0]
        weights = (scores / self.temperature).softmax(dim=-1).unflatten(0, states.shape[:2])
        return (weights[..., None] * states).sum(dim=2), {"gate": weights}


@register_fusion("tagf")
class TimeAwareGatedFusion(GatedRecursion):
    """Recursive co-attention as in `grjca` (see `GatedRecursion`), its steps weighed by a BiLSTM over them.

    Time is mixed by the TCN and the co-attention alone: the gate sees the steps of one clip.

    Args:
        encoder_width: width of each stream's encoder and temporal network.
        iterations: number T of steps of co-attention.
        temperature: of the gates.
        score: what a step is weighed by: the `mean` of its encoding, as published, or a `linear` map of it, without
            the row norm that keeps the published weights close to even.
        gate_dropout: dropout in front of the gate's linear layer.
        attention: `dense`, as in the authors' code, or `joint`: see `grjca`, also for the other arguments.
    """

    def __init__(
        self,
        *,
        audio_dim: int = 512,
        visual_dim: int = 512,
        length: int = 16,
        encoder_width: Count = 128,
        iterations: Count = 2,
        temperature: Positive = 0.1,
        score: Literal["mean", "linear"] = "mean",
        gate_dropout: Share = 0.1,
        attention: Literal["dense", "joint"] = "dense",
        k: Count = 32,
        temporal: Literal["tcn", "none"] = "tcn",
        kernel: Count = 3,
        blocks: Count = 2,
        temporal_dropout: Share = 0.1,
        dropout: Share = 0.6,
        head: Literal["linear", "relu", "batchnorm"] = "batchnorm",
        head_hidden: Count = 256,
    ) -> None:
        super().__init__(
            audio_dim,
            visual_dim,
            length,
            encoder_width,
            iterations=iterations,
            attention=attention,
            k=k,
            temporal=temporal,
            kernel=kernel,
            blocks=blocks,
            temporal_dropout=temporal_dropout,
            dropout=dropout,
            head=head,
            head_hidden=head_hidden,
            gate=lambda width: TimeAwareGate(width, temperature, score, gate_dropout),
        )
