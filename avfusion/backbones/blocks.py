"""Residual blocks on pictures and on clips, with torchvision's names and order of parameters, so its weights load.

They avoid importing torchvision, which takes as long as importing torch.
"""

from collections.abc import Callable

from torch import Tensor, nn


class PictureBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (arXiv 1512.03385), on (B, C, H, W)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, outputs, H/stride, W/stride), rounded up."""
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)


class Conv2Plus1D(nn.Sequential):
    """A factorised 3x3x3 convolution: over space to `middle` channels, then over time (arXiv 1711.11248)."""

    def __init__(self, inputs: int, outputs: int, middle: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv3d(inputs, middle, (1, 3, 3), stride=(1, stride, stride), padding=(0, 1, 1), bias=False),
            nn.BatchNorm3d(middle),
            nn.ReLU(inplace=True),
            nn.Conv3d(middle, outputs, (3, 1, 1), stride=(stride, 1, 1), padding=(1, 0, 0), bias=False),
        )


class ClipBlock(nn.Module):
    """Two convolutions from `conv(inputs, outputs, middle, stride)` beside a shortcut, on (B, C, T, H, W).

    `middle` gives a (2+1)D convolution as many parameters as the 3x3x3 convolution that it replaces.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        conv: Callable[..., nn.Module],
        stride: int = 1,
        shortcut: nn.Module | None = None,
    ) -> None:
        super().__init__()
        middle = 27 * inputs * outputs // (9 * inputs + 3 * outputs)
        self.conv1 = nn.Sequential(
            conv(inputs, outputs, middle, stride), nn.BatchNorm3d(outputs), nn.ReLU(inplace=True)
        )
        self.conv2 = nn.Sequential(conv(outputs, outputs, middle), nn.BatchNorm3d(outputs))
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, T, H, W) → (B, outputs, T/stride, H/stride, W/stride), rounded up."""
        y = self.conv2(self.conv1(x))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)
