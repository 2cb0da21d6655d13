"""Networks on log-mel spectrograms: ResNets (audio backbone of arXiv 2002.03399, 2209.09068), and a baseline."""

import torch
from torch import Tensor, nn

from avfusion.backbones.registry import Output, register_backbone
from avfusion.backbones.resnet import STRIDE, ResNet
from avfusion.runtime.settings import Count


@register_backbone("narrow_resnet", blocks=1)
@register_backbone("resnet18", blocks=2, width=64, pretrained="imagenet", imported=("tsav",))
class SpectrogramResNet(ResNet):
    """ResNet over a spectrogram of any length; width 64, two blocks: `resnet18` with a one-channel stem."""

    stream = "audio"
    features = (8, "width")
    map_stride = STRIDE

    def __init__(
        self, *, width: Count = 64, blocks: Count = 2, output: Output = "pooled", input_size: Count = 64
    ) -> None:
        super().__init__(1, width=width, blocks=blocks)
        self.output = output

    def forward(self, spectrograms: Tensor) -> Tensor:
        """Normalised log-mel spectrograms (B, 1, bands, T), any T → (B, D), or the map before pooling."""
        x = self.spatial(spectrograms)
        return x if self.output == "map" else x.mean(dim=(2, 3))


@register_backbone("log_mel_statistics")
class LogMelStatistics(nn.Module):
    """Mean and standard deviation of every mel band over time; nothing is learnt before the head.

    A network's gain over it comes from the course of the sound. `width` has no effect.
    """

    stream = "audio"
    features = (2, "input_size")
    map_stride = None

    def __init__(self, *, width: Count = 64, output: Output = "pooled", input_size: Count = 64) -> None:
        super().__init__()
        self.output = output
        self.feature_dim = 2 * input_size

    def forward(self, spectrograms: Tensor) -> Tensor:
        """Normalised log-mel spectrograms (B, 1, bands, T), any T → (B, 2 bands): means, then deviations."""
        deviations, means = torch.std_mean(spectrograms.squeeze(1), dim=2, correction=0)
        return torch.cat([means, deviations], dim=1)
