"""Late fusion, the baseline that mixes two unimodal predictions."""

from typing import Literal

import torch
from torch import nn

from avfusion.fusion.base import FusionOutput, RegressionHeads, TwoStreamModel
from avfusion.fusion.registry import register_fusion
from avfusion.runtime.settings import Count, Share


@register_fusion("late")
class Late(TwoStreamModel):
    """w ŷ_a + (1 - w) ŷ_v per clip: a convex mix of both streams' predictions, with w learnt per target."""

    def __init__(
        self,
        *,
        audio_dim: int = 512,
        visual_dim: int = 512,
        length: int = 16,
        encoder_width: Count = 128,
        dropout: Share = 0.6,
        head_hidden: Count = 128,
        head: Literal["linear", "relu"] = "relu",
    ) -> None:
        super().__init__(audio_dim, visual_dim, length, encoder_width)
        self.audio_heads = RegressionHeads(encoder_width, head_hidden, dropout, relu=head == "relu")
        self.visual_heads = RegressionHeads(encoder_width, head_hidden, dropout, relu=head == "relu")
        self.mix = nn.Parameter(torch.zeros(2))  # logit of w: valence, arousal

    def fuse_encoded(self, x_a: torch.Tensor, x_v: torch.Tensor, valid: torch.Tensor) -> FusionOutput:
        """See `TwoStreamModel.fuse_encoded`; `maps` holds w, (B, L, 2: valence, arousal), the same for all clips."""
        by_audio, by_visual = self.audio_heads(x_a), self.visual_heads(x_v)
        weight = torch.sigmoid(self.mix)
        predictions = weight * by_audio + (1 - weight) * by_visual
        return FusionOutput(predictions, x_a, x_v, {"audio_weight": weight.expand_as(predictions)})
