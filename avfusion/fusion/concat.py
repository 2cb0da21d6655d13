"""Feature concatenation, the simplest fusion (as in TSAV, arXiv 2002.03399)."""

from typing import Literal

import torch

from avfusion.fusion.base import FusionOutput, RegressionHeads, TwoStreamModel
from avfusion.fusion.registry import register_fusion
from avfusion.runtime.settings import Count, Share


@register_fusion("concat")
class Concat(TwoStreamModel):
    """MLP([x_v ; x_a]) per clip; clips do not interact."""

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
        self.heads = RegressionHeads(2 * encoder_width, head_hidden, dropout, relu=head == "relu")

    def fuse_encoded(self, x_a: torch.Tensor, x_v: torch.Tensor, valid: torch.Tensor) -> FusionOutput:
        """See `TwoStreamModel.fuse_encoded`."""
        return FusionOutput(self.heads(torch.cat([x_v, x_a], dim=-1)), x_a, x_v)
