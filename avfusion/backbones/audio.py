"""ResNets on log-mel spectrograms (arXiv 1512.03385; as audio backbone: arXiv 2002.03399, 2209.09068).

Built from torchvision's blocks, with torchvision's parameter names; the stem has one input channel.
"""

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock


class SpectrogramResNet(nn.Module):
    """Residual network of any width and depth over a spectrogram of any length, without a classifier.

    Four stages of widths w, 2w, 4w, 8w. Width 64 with two blocks a stage is torchvision's `resnet18` with a
    one-channel stem.
    """

    stream = "audio"

    def __init__(self, *, width: int = 64, blocks: int = 2, output: str = "pooled") -> None:
        super().__init__()
        self.output = output
        self.feature_dim = 8 * width
        self.conv1 = nn.Conv2d(1, width, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1 = _stage(width, width, blocks, stride=1)
        self.layer2 = _stage(width, 2 * width, blocks, stride=2)
        self.layer3 = _stage(2 * width, 4 * width, blocks, stride=2)
        self.layer4 = _stage(4 * width, 8 * width, blocks, stride=2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, spectrograms: Tensor) -> Tensor:
        """Normalised log-mel spectrograms (B, 1, bands, T), any T → (B, D), or the map before pooling."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(spectrograms))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x if self.output == "map" else x.mean(dim=(2, 3))


def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    shortcut = None
    if stride != 1 or inputs != outputs:
        shortcut = nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
        )
    first = BasicBlock(inputs, outputs, stride, shortcut)
    return nn.Sequential(first, *(BasicBlock(outputs, outputs) for _ in range(blocks - 1)))
