"""Modality gate: recurrent scorers weigh the streams clip by clip (M³T, arXiv 2002.02957)."""

from typing import Literal

import torch
from torch import nn

from avfusion.fusion.base import FusionOutput, RegressionHeads, TwoStreamModel
from avfusion.fusion.published_forms.gated_recurrence import GatedRecurrence
from avfusion.fusion.registry import register_fusion
from avfusion.runtime.settings import Count, Share


class Scorer(nn.Module):
    """Score of each clip of a stream by a bidirectional GRU, (B, L, width) → (B, L, 1).

    Without biases a zero input keeps a zero state, so padding, always at the ends, has no effect.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gru = nn.GRU(width, hidden, batch_first=True, bidirectional=True, bias=False)
        self.score = nn.Linear(2 * hidden, 1)

    def forward(self, stream: torch.Tensor) -> torch.Tensor:
        """Padded clips are zero."""
        encoded, _ = self.gru(stream)
        return self.score(encoded)


@register_fusion("modality_gate")
class ModalityGate(TwoStreamModel):
    """g = softmax(score_a(X_a), score_v(X_v)) ∈ R² per clip; the heads read g_a x_a + g_v x_v.

    Args:
        gate_hidden: width of the scorers' GRU, in each direction.
        faithful: the network of the authors' code (see `GatedRecurrence`); `head_hidden` is the width of its GRU behind
            the gate, and it has neither dropout nor another `head`.
        attention: false trains the control: gates are 1/2, in training and after.
    """

    neutral_form = "gates at their mean"
    gate_maps = ("gates",)
    faithful_head = "relu"

    def __init__(
        self,
        *,
        audio_dim: int = 512,
        visual_dim: int = 512,
        length: int = 16,
        encoder_width: Count = 128,
        gate_hidden: Count = 64,
        dropout: Share = 0.6,
        head_hidden: Count = 128,
        head: Literal["linear", "relu"] = "relu",
        faithful: bool = False,
        attention: bool = True,
    ) -> None:
        if faithful:
            network = GatedRecurrence(
                audio_dim, visual_dim, width=encoder_width, gate_hidden=gate_hidden, hidden=head_hidden
            )
            super().__init__(audio_dim, visual_dim, length, encoder_width, network)
            if not attention:
                self.train_without_attention()
            return
        super().__init__(audio_dim, visual_dim, length, encoder_width)
        self.audio_scorer = Scorer(encoder_width, gate_hidden)
        self.visual_scorer = Scorer(encoder_width, gate_hidden)
        self.heads = RegressionHeads(encoder_width, head_hidden, dropout, relu=head == "relu")
        if not attention:
            self.train_without_attention()

    def fuse_encoded(self, x_a: torch.Tensor, x_v: torch.Tensor, valid: torch.Tensor) -> FusionOutput:
        """See `TwoStreamModel.fuse_encoded`; `maps` holds the gates, (B, L, 2: audio, visual)."""
        gates = torch.cat([self.audio_scorer(x_a), self.visual_scorer(x_v)], dim=-1).softmax(dim=-1)
        gates = self.hold("gates", gates)
        audio_gate, visual_gate = gates.split(1, dim=-1)
        gated_a, gated_v = audio_gate * x_a, visual_gate * x_v
        return FusionOutput(self.heads(gated_a + gated_v), gated_a, gated_v, {"gates": gates})
