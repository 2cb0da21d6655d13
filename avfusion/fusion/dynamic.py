"""Dynamic cross-attention: a gate per clip selects attended or plain features (arXiv 2403.19554)."""

from typing import Literal

import torch
from torch import nn

from avfusion.fusion.base import FusionOutput, RegressionHeads, TwoStreamModel
from avfusion.fusion.jca import CrossAttention
from avfusion.fusion.neutral import Attending
from avfusion.fusion.published_forms.recurrent_coattention import RecurrentCoAttention
from avfusion.fusion.registry import register_fusion
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.settings import Count, Positive, Share


class GatedAttention(Attending):
    """One stream's joint cross-attention (see `jca`), followed by its gate:

    g = softmax(W_g X_att / temperature) ∈ R²,   ReLU(g₀ X + g₁ X_att)
    """

    def __init__(self, name: str, width: int, length: int, k: int, temperature: float) -> None:
        super().__init__()
        self.name = name  # of the gates among the model's maps
        self.temperature = temperature
        self.attention = CrossAttention(width, length, k)
        self.gate = nn.Linear(width, 2, bias=False)  # W_g

    def forward(self, stream: torch.Tensor, joint: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(B, L, width), (B, L, 2 width) → gated stream (B, L, width), gates (B, L, 2), C (B, width, 2 width)."""
        attended, correlation = self.attention(stream, joint)
        gates = self.hold(self.name, (self.gate(attended) / self.temperature).softmax(dim=-1))
        plain, crossed = gates.split(1, dim=-1)
        return torch.relu(plain * stream + crossed * attended), gates, correlation


@register_fusion("dynamic")
class DynamicCrossAttention(TwoStreamModel):
    """Joint cross-attention that each clip of each stream may skip.

    Args:
        k: rows of the attention weights.
        temperature: temperature of the gates; a low one makes nearly hard choices.
        faithful: the network of the authors' code (see `RecurrentCoAttention`), whose gate chooses between no and two
            steps of attention; `k` and `head` are not part of it.
        attention: false trains the control: C is 0 and gates are 1/2, in training and after.
    """

    neutral_form = "C = 0, gates at their mean"
    gate_maps = ("audio_gate", "visual_gate")
    faithful_head = "relu"

    def __init__(
        self,
        *,
        audio_dim: int = 512,
        visual_dim: int = 512,
        length: int = 16,
        encoder_width: Count = 128,
        k: Count = 32,
        temperature: Positive = 0.1,
        dropout: Share = 0.6,
        head_hidden: Count = 128,
        head: Literal["linear", "relu"] = "linear",
        faithful: bool = False,
        attention: bool = True,
    ) -> None:
        if faithful:
            if encoder_width % 2:
                raise BadInputError(f"{self.name}: encoder_width is {encoder_width}: must be even if faithful is true")
            network = RecurrentCoAttention(
                audio_dim,
                visual_dim,
                length,
                widths=(encoder_width,) * 3,
                steps=2,
                temperature=temperature,
                dropout=dropout,
                head_hidden=head_hidden,
            )
            super().__init__(audio_dim, visual_dim, length, encoder_width, network)
            if not attention:
                self.train_without_attention()
            return
        super().__init__(audio_dim, visual_dim, length, encoder_width)
        self.audio_attention = GatedAttention("audio_gate", encoder_width, length, k, temperature)
        self.visual_attention = GatedAttention("visual_gate", encoder_width, length, k, temperature)
        self.heads = RegressionHeads(2 * encoder_width, head_hidden, dropout, relu=head == "relu")
        if not attention:
            self.train_without_attention()

    def fuse_encoded(self, x_a: torch.Tensor, x_v: torch.Tensor, valid: torch.Tensor) -> FusionOutput:
        """See `TwoStreamModel.fuse_encoded`; `maps` holds the gates (B, L, 2: plain, attended) and C (B, d_m, d)."""
        joint = torch.cat([x_a, x_v], dim=-1)
        gated_a, audio_gate, audio_map = self.audio_attention(x_a, joint)
        gated_v, visual_gate, visual_map = self.visual_attention(x_v, joint)
        predictions = self.heads(torch.cat([gated_v, gated_a], dim=-1))
        maps = {
            "audio_gate": audio_gate,
            "visual_gate": visual_gate,
            "audio_correlation": audio_map,
            "visual_correlation": visual_map,
        }
        return FusionOutput(predictions, gated_a, gated_v, maps)
