"""Gated recursive joint cross-attention, GRJCA, and its hierarchical form, HGRJCA (arXiv 2503.12261)."""

from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from avfusion.fusion.recursive_coattention import GatedRecursion
from avfusion.fusion.registry import register_fusion
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.settings import Count, Positive, Share

Gated = tuple[torch.Tensor, dict[str, torch.Tensor]]


class StateGate(nn.Module):
    """A clip's mix of several states, chosen by one of them:

    g = softmax((X W_g + b) / temperature) ∈ Rⁿ,   F = ReLU(Σ_t g_t X^t)
    """

    def __init__(self, width: int, choices: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.linear = nn.Linear(width, choices)

    def forward(self, states: torch.Tensor, by: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """States (B, L, n, width), the choosing state (B, L, width) → the mix (B, L, width), g (B, L, n)."""
        gates = (self.linear(by) / self.temperature).softmax(dim=-1)
        return F.relu((gates[..., None] * states).sum(dim=2)), gates


class RecursionGate(nn.Module):
    """GRJCA's gate: the last state chooses among all."""

    def __init__(self, width: int, iterations: int, temperature: float) -> None:
        super().__init__()
        self.gate = StateGate(width, iterations + 1, temperature)

    def forward(self, states: torch.Tensor) -> Gated:
        """States (B, L, T + 1, width) → the mix (B, L, width), `gate` (B, L, T + 1)."""
        fused, gates = self.gate(states, states[:, :, -1])
        return fused, {"gate": gates}


class HierarchicalGate(nn.Module):
    """HGRJCA's gates: Gᵗ mixes X⁰ … Xᵗ as Xᵗ chooses, t = 1 … T; then X^T chooses among G¹ … G^T."""

    def __init__(self, width: int, iterations: int, temperature: float) -> None:
        super().__init__()
        self.levels = nn.ModuleList(StateGate(width, t + 2, temperature) for t in range(iterations))
        self.last = StateGate(width, iterations, temperature)

    def forward(self, states: torch.Tensor) -> Gated:
        """States (B, L, T + 1, width) → the mix (B, L, width), `gate_t` (B, L, t + 1) and `gate` (B, L, T)."""
        mixes, gates = [], {}
        for t, level in enumerate(self.levels, start=1):
            mix, gates[f"gate_{t}"] = level(states[:, :, : t + 1], states[:, :, t])
            mixes.append(mix)
        fused, gates["gate"] = self.last(torch.stack(mixes, dim=2), states[:, :, -1])
        return fused, gates


@register_fusion("grjca")
class GatedRecursiveAttention(GatedRecursion):
    """Recursive co-attention whose steps each clip of each stream may choose from (see `GatedRecursion`).

    The authors' code has dense co-attention (biases, values through a tanh and a ReLU) where the paper's equations have
    joint cross-attention; `attention` chooses. In their sizes the front end is wider (512 and 256 visual, 128 audio),
    its kernel is 5, and L is 300 frames.

    Args:
        encoder_width: width of each stream's encoder and temporal network.
        iterations: number T of steps of co-attention.
        hierarchical: HGRJCA, with a gate behind every step and one over these; `iterations` must be 2 or more.
        temperature: of the gates; a low one makes nearly hard choices.
        attention: `dense`, as in the code, or `joint`, as in the equations.
        k: rows of the attention weights of `joint`.
        temporal: a TCN with batch normalisation in front, as published, or nothing (see `temporal_concat`, also for
            `kernel`, `blocks` and `temporal_dropout`).
        dropout: dropout in dense co-attention and in the heads `linear` and `relu`.
        head: `batchnorm`, as published: see `BatchNormHead`; `linear`, `relu`: see `RegressionHeads`.
        head_hidden: width of the head's hidden layer.
    """

    def __init__(
        self,
        *,
        audio_dim: int = 512,
        visual_dim: int = 512,
        length: int = 16,
        encoder_width: Count = 128,
        iterations: Count = 2,
        hierarchical: bool = False,
        temperature: Positive = 0.1,
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
        if hierarchical and iterations < 2:
            raise BadInputError(f"{self.name}: iterations is {iterations}: must be 2 or more if hierarchical is true")
        kind = HierarchicalGate if hierarchical else RecursionGate
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
            gate=lambda width: kind(width, iterations, temperature),
        )
