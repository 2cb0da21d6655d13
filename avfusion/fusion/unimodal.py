"""One stream alone: the baselines that fusion has to beat."""

from typing import ClassVar

import torch

from avfusion.fusion.base import FusionModel, FusionOutput, RegressionHeads, StreamEncoder


class _Unimodal(FusionModel):
    """Encoder and heads on one stream, per clip; the other stream is not looked at.

    Args:
        encoder_width: width of the encoder.
        dropout: in the heads.
        head_hidden: width of the heads' hidden layer.
    """

    stream: ClassVar[str]

    def __init__(
        self,
        *,
        audio_dim: int = 512,
        visual_dim: int = 512,
        length: int = 16,
        encoder_width: int = 128,
        dropout: float = 0.6,
        head_hidden: int = 128,
    ) -> None:
        super().__init__(audio_dim, visual_dim, length)
        self.encoder = StreamEncoder(audio_dim if self.stream == "audio" else visual_dim, encoder_width)
        self.heads = RegressionHeads(encoder_width, head_hidden, dropout, relu=True)

    def fuse(
        self,
        audio: torch.Tensor,
        visual: torch.Tensor,
        audio_present: torch.Tensor,
        visual_present: torch.Tensor,
        valid: torch.Tensor,
    ) -> FusionOutput:
        """See `FusionModel.fuse`."""
        if self.stream == "audio":
            encoded = self.encoder(audio, audio_present, valid)
            return FusionOutput(self.heads(encoded), attended_audio=encoded)
        encoded = self.encoder(visual, visual_present, valid)
        return FusionOutput(self.heads(encoded), attended_visual=encoded)


class AudioOnly(_Unimodal):
    """Audio alone."""

    name = "audio_only"
    stream = "audio"


class VisualOnly(_Unimodal):
    """Face alone."""

    name = "visual_only"
    stream = "visual"
