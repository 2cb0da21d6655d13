"""Cross-attention between the clips of both streams (arXiv 2111.05222)."""

from typing import Literal

import torch
from torch import nn

from avfusion.fusion.base import FusionOutput, RegressionHeads, TwoStreamModel, masked_softmax
from avfusion.fusion.registry import register_fusion
from avfusion.runtime.settings import Count, Share


@register_fusion("cross_attention")
class CrossAttentionFusion(TwoStreamModel):
    """Mix each stream's clips by their correlation with the other stream's clips.

    With the encoded streams X_a, X_v (d × L), and both softmaxes over columns, the clips that are mixed:

        Z = X_aᵀ W X_v,   A_a = softmax(Z),   A_v = softmax(Zᵀ),   X_att,m = tanh(X_m + X_m A_m)

    Args:
        attention: false trains the control: weights are uniform, in training and after.
    """

    neutral_form = "uniform weights"

    def __init__(
        self,
        *,
        audio_dim: int = 512,
        visual_dim: int = 512,
        length: int = 16,
        encoder_width: Count = 128,
        dropout: Share = 0.6,
        head_hidden: Count = 128,
        head: Literal["linear", "relu"] = "linear",
        attention: bool = True,
    ) -> None:
        super().__init__(audio_dim, visual_dim, length, encoder_width)
        self.correlation = nn.Linear(encoder_width, encoder_width, bias=False)  # Wᵀ
        self.heads = RegressionHeads(2 * encoder_width, head_hidden, dropout, relu=head == "relu")
        if not attention:
            self.train_without_attention()

    def fuse_encoded(self, x_a: torch.Tensor, x_v: torch.Tensor, valid: torch.Tensor) -> FusionOutput:
        """See `TwoStreamModel.fuse_encoded`; `maps` holds A_mᵀ of both streams, (B, L, L), whose rows sum to one."""
        scores = self.correlation(x_a) @ x_v.transpose(1, 2)  # Z, (B, L of audio, L of visual)
        if self.neutral is not None:
            scores = torch.zeros_like(scores)
        audio_map = masked_softmax(scores.transpose(1, 2), valid[:, None])
        visual_map = masked_softmax(scores, valid[:, None])
        attended_a = torch.tanh(x_a + audio_map @ x_a)
        attended_v = torch.tanh(x_v + visual_map @ x_v)
        predictions = self.heads(torch.cat([attended_v, attended_a], dim=-1))
        maps = {"audio_attention": audio_map, "visual_attention": visual_map}
        return FusionOutput(predictions, attended_a, attended_v, maps)
