"""Feature concatenation, the simplest fusion (as in TSAV, arXiv 2002.03399)."""

import torch

from avfusion.fusion.base import FusionModel, FusionOutput, RegressionHeads, StreamEncoder


class Concat(FusionModel):
    """MLP([x_a ; x_v]) per clip, without any exchange between clips.

    Args:
        encoder_width: width of each stream's encoder.
        dropout: in the heads.
        head_hidden: width of the heads' hidden layer.
    """

    name = "concat"

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
        self._options = {"encoder_width": encoder_width, "dropout": dropout, "head_hidden": head_hidden}
        self.audio_encoder = StreamEncoder(audio_dim, encoder_width)
        self.visual_encoder = StreamEncoder(visual_dim, encoder_width)
        self.heads = RegressionHeads(2 * encoder_width, head_hidden, dropout, relu=True)

    def fuse(
        self,
        audio: torch.Tensor,
        visual: torch.Tensor,
        audio_present: torch.Tensor,
        visual_present: torch.Tensor,
        valid: torch.Tensor,
    ) -> FusionOutput:
        """See `FusionModel.fuse`."""
        x_a = self.audio_encoder(audio, audio_present, valid)
        x_v = self.visual_encoder(visual, visual_present, valid)
        return FusionOutput(self.heads(torch.cat([x_v, x_a], dim=-1)), x_a, x_v)
