"""ResNets on pictures of any number of channels (arXiv 1512.03385), without a classifier.

Parameters have torchvision's names, so that its weights and the published weights load.
"""

from torch import Tensor, nn

from avfusion.backbones.blocks import PictureBlock

STRIDE = 32  # of the map relative to the picture


class ResNet(nn.Module):
    """Residual network of any width and depth: four stages of widths w, 2w, 4w, 8w.

    Width 64 with two blocks a stage is torchvision's `resnet18`.
    """

    def __init__(self, channels: int, *, width: int, blocks: int) -> None:
        super().__init__()
        self.feature_dim = 8 * width
        self.conv1 = nn.Conv2d(channels, width, kernel_size=7, stride=2, padding=3, bias=False)
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

    def spatial(self, pictures: Tensor) -> Tensor:
        """Pictures (B, channels, H, W) → map (B, 8w, H/32, W/32), rounded up."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(pictures))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    shortcut = None
    if stride != 1 or inputs != outputs:
        shortcut = nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
        )
    first = PictureBlock(inputs, outputs, stride, shortcut)
    return nn.Sequential(first, *(PictureBlock(outputs, outputs) for _ in range(blocks - 1)))
