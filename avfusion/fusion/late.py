"""Late fusion, the baseline that mixes two unimodal predictions."""

from typing import Literal

import torch
from torch import nn

from avfusion.fusion.base import FusionModel, FusionOutput, RegressionHeads, StreamEncoder
from avfusion.fusion.registry import register_fusion
from avfusion.runtime.settings import Count, Share


@register_fusion("late")
class Late(FusionModel):
    """w ŷ_a + (1 - w) ŷ_v per clip: a convex mix of both streams' predictions, with w learnt per target.

    Args:
        renormalise: a stream that is absent alone has no weight: w is 1 without a face, 0 without sound. False: the
            prediction from its learnt token keeps its weight.
    """

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
        renormalise: bool = True,
    ) -> None:
        super().__init__(audio_dim, visual_dim, length)
        self.renormalise = renormalise
        self.audio_encoder = StreamEncoder(audio_dim, encoder_width)
        self.visual_encoder = StreamEncoder(visual_dim, encoder_width)
        self.audio_heads = RegressionHeads(encoder_width, head_hidden, dropout, relu=head == "relu")
        self.visual_heads = RegressionHeads(encoder_width, head_hidden, dropout, relu=head == "relu")
        self.mix = nn.Parameter(torch.zeros(2))  # logit of w: valence, arousal

    def fuse(
        self,
        audio: torch.Tensor,
        visual: torch.Tensor,
        audio_present: torch.Tensor,
        visual_present: torch.Tensor,
        valid: torch.Tensor,
    ) -> FusionOutput:
        """See `FusionModel.fuse`; `maps` holds w, (B, L, 2: valence, arousal)."""
        x_a = self.audio_encoder(audio, audio_present, valid)
        x_v = self.visual_encoder(visual, visual_present, valid)
        by_audio, by_visual = self.audio_heads(x_a), self.visual_heads(x_v)
        weight = torch.sigmoid(self.mix)
        if self.renormalise:
            alone = audio_present ^ visual_present
            weight = torch.where(alone[..., None], audio_present[..., None].to(weight.dtype), weight)
        predictions = weight * by_audio + (1 - weight) * by_visual
        return FusionOutput(predictions, x_a, x_v, {"audio_weight": weight.expand_as(predictions)})
