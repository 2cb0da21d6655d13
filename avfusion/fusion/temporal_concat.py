"""Concatenation behind a temporal network per stream (TCN: arXiv 1803.01271): the control of attention.

The networks of the ABAW challenge put a TCN and batch normalisation on each stream in front of their attention, and a
head with batch normalisation behind it; recursive joint cross-attention (arXiv 2304.07958) stands between BiLSTMs. What
attention adds to either is its gain over the same network without attention, which is this model.
"""

from typing import ClassVar, Literal

import torch
from torch import nn

from avfusion.fusion.base import FusionOutput, RegressionHeads, TwoStreamModel
from avfusion.fusion.registry import register_fusion
from avfusion.fusion.temporal import BatchNormHead, BiLSTM, TemporalEncoder
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.settings import Count, Share


@register_fusion("temporal_concat")
class TemporalConcat(TwoStreamModel):
    """A temporal network per stream, then concatenation, then the head; streams meet clip by clip:

        tcn:      T_m = BN(TCN_m(X_m)),    c = [T_v ; T_a]
        bilstm:   T_m = BiLSTM_m(X_m),     c = BiLSTM([T_v ; T_a]), `recursive_jca` without its attention
        none:     c = [X_v ; X_a]

    Args:
        encoder_width: width of each stream's encoder and temporal network; even with `bilstm`.
        temporal: the temporal network.
        kernel: clips that a convolution of the TCN sees.
        blocks: blocks of the TCN; a clip sees 2 (kernel - 1) (2^blocks - 1) earlier clips.
        temporal_dropout: dropout in the TCN.
        head: `batchnorm`: tanh(w · LeakyReLU(BN(W c))), of the ABAW challenge's networks; `linear`, `relu`: see
            `RegressionHeads`.
        dropout: dropout in the heads `linear` and `relu`.
        head_hidden: width of the head's hidden layer.
    """

    # With a BiLSTM it is the control of recursive_jca, which reads clips.
    frame_level: ClassVar = {"temporal": ("tcn", "none")}

    def __init__(
        self,
        *,
        audio_dim: int = 512,
        visual_dim: int = 512,
        length: int = 16,
        encoder_width: Count = 128,
        temporal: Literal["tcn", "bilstm", "none"] = "tcn",
        kernel: Count = 3,
        blocks: Count = 2,
        temporal_dropout: Share = 0.1,
        head: Literal["linear", "relu", "batchnorm"] = "batchnorm",
        dropout: Share = 0.6,
        head_hidden: Count = 256,
    ) -> None:
        if temporal == "bilstm" and encoder_width % 2:
            raise BadInputError(f"{self.name}: encoder_width is {encoder_width}: must be an even number with bilstm")
        super().__init__(audio_dim, visual_dim, length, encoder_width)
        self.audio_temporal: nn.Module | None = None
        self.visual_temporal: nn.Module | None = None
        self.joint_lstm: nn.Module | None = None
        if temporal == "tcn":
            widths = (encoder_width,) * blocks
            self.audio_temporal = TemporalEncoder(encoder_width, widths, kernel, temporal_dropout)
            self.visual_temporal = TemporalEncoder(encoder_width, widths, kernel, temporal_dropout)
        elif temporal == "bilstm":
            self.audio_temporal = BiLSTM(encoder_width, encoder_width)
            self.visual_temporal = BiLSTM(encoder_width, encoder_width)
            self.joint_lstm = BiLSTM(2 * encoder_width, 2 * encoder_width)
        self.heads: nn.Module = (
            BatchNormHead(2 * encoder_width, head_hidden)
            if head == "batchnorm"
            else RegressionHeads(2 * encoder_width, head_hidden, dropout, relu=head == "relu")
        )

    def fuse_encoded(self, x_a: torch.Tensor, x_v: torch.Tensor, valid: torch.Tensor) -> FusionOutput:
        """See `TwoStreamModel.fuse_encoded`."""
        if self.audio_temporal is not None and self.visual_temporal is not None:
            x_a, x_v = self.audio_temporal(x_a, valid), self.visual_temporal(x_v, valid)
        fused = torch.cat([x_v, x_a], dim=-1)
        if self.joint_lstm is not None:
            fused = self.joint_lstm(fused, valid)
        return FusionOutput(self.heads(fused, valid), x_a, x_v)
