"""Networks on log-mel spectrograms: ResNets (as audio backbone: arXiv 2002.03399, 2209.09068), and their floor."""

import torch
from torch import Tensor, nn

from avfusion.backbones.resnet import STRIDE, ResNet


class SpectrogramResNet(ResNet):
    """ResNet over a spectrogram of any length; width 64, two blocks: `resnet18` with a one-channel stem."""

    stream = "audio"
    map_stride: int | None = STRIDE

    def __init__(self, *, width: int = 64, blocks: int = 2, output: str = "pooled", input_size: int = 64) -> None:
        super().__init__(1, width=width, blocks=blocks)
        self.output = output

    def forward(self, spectrograms: Tensor) -> Tensor:
        """Normalised log-mel spectrograms (B, 1, bands, T), any T → (B, D), or the map before pooling."""
        x = self.spatial(spectrograms)
        return x if self.output == "map" else x.mean(dim=(2, 3))


class LogMelStatistics(nn.Module):
    """Mean and standard deviation of every mel band over time: nothing is learnt before the head.

    What a network gains over it, it has learnt from the course of the sound. `width` and `blocks` are without effect.
    """

    stream = "audio"
    map_stride: int | None = None

    def __init__(self, *, width: int = 64, blocks: int = 0, output: str = "pooled", input_size: int = 64) -> None:
        super().__init__()
        self.output = output
        self.feature_dim = 2 * input_size

    def forward(self, spectrograms: Tensor) -> Tensor:
        """Normalised log-mel spectrograms (B, 1, bands, T), any T → (B, 2 bands): means, then deviations."""
        deviations, means = torch.std_mean(spectrograms.squeeze(1), dim=2, correction=0)
        return torch.cat([means, deviations], dim=1)
