"""Models of a single stream: the baselines that fusion must beat."""

from typing import Literal

import torch

from avfusion.fusion.base import FusionModel, FusionOutput, RegressionHeads, StreamEncoder
from avfusion.fusion.registry import register_fusion
from avfusion.runtime.settings import Count, Share


class _Unimodal(FusionModel):
    """Encoder and heads on one stream, per clip; the other stream is ignored."""

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
        super().__init__(audio_dim, visual_dim, length)
        self.encoder = StreamEncoder(audio_dim if self.streams == ("audio",) else visual_dim, encoder_width)
        self.heads = RegressionHeads(encoder_width, head_hidden, dropout, relu=head == "relu")

    def fuse(
        self,
        audio: torch.Tensor,
        visual: torch.Tensor,
        audio_present: torch.Tensor,
        visual_present: torch.Tensor,
        valid: torch.Tensor,
    ) -> FusionOutput:
        """See `FusionModel.fuse`."""
        if self.streams == ("audio",):
            encoded = self.encoder(audio, audio_present, valid)
            return FusionOutput(self.heads(encoded), attended_audio=encoded)
        encoded = self.encoder(visual, visual_present, valid)
        return FusionOutput(self.heads(encoded), attended_visual=encoded)


@register_fusion("audio_only")
class AudioOnly(_Unimodal):
    """Audio alone."""

    streams = ("audio",)


@register_fusion("visual_only")
class VisualOnly(_Unimodal):
    """Face alone."""

    streams = ("visual",)
