"""Networks on clips of face crops: R(2+1)D (arXiv 1711.11248; visual backbone of arXiv 2209.09068), and per frame.

Parameters have torchvision's names, so that its weights and the published weights load.
"""

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn

from avfusion.backbones.blocks import ClipBlock, Conv2Plus1D
from avfusion.backbones.registry import Output, register_backbone
from avfusion.backbones.resnet import STRIDE, ResNet
from avfusion.runtime.settings import Count

FULL_WIDTH = 64  # width of the published networks


@register_backbone("narrow_r2plus1d", blocks=1)
@register_backbone("r2plus1d_18", blocks=2, width=FULL_WIDTH, pretrained="kinetics400", imported=("tsav",))
class R2Plus1D(nn.Module):
    """R(2+1)D residual network of any width and depth, without a classifier.

    Four stages of widths w, 2w, 4w, 8w; each but the first halves time and space, and the stem halves space, so 8 x 112
    x 112 pixels become a map of 1 x 7 x 7 (56 pixels: 4 x 4). Width 64 with two blocks a stage is torchvision's
    `r2plus1d_18`.
    """

    stream = "visual"
    features = (8, "width")
    map_stride = 16

    def __init__(
        self, *, width: Count = 64, blocks: Count = 2, output: Output = "pooled", input_size: Count = 112
    ) -> None:
        super().__init__()
        self.output = output
        self.feature_dim = 8 * width
        # The published networks need their exact channels for their weights.
        conv = Conv2Plus1D if width == FULL_WIDTH else _aligned_conv
        self.stem = _stem(width)
        self.layer1 = _stage(width, width, blocks, stride=1, conv=conv)
        self.layer2 = _stage(width, 2 * width, blocks, stride=2, conv=conv)
        self.layer3 = _stage(2 * width, 4 * width, blocks, stride=2, conv=conv)
        self.layer4 = _stage(4 * width, 8 * width, blocks, stride=2, conv=conv)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, clips: Tensor) -> Tensor:
        """Normalised RGB clips (B, 3, 8, S, S) → (B, D), or the map before pooling (B, D, S/16, S/16)."""
        x = self.stem(clips)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.mean(dim=2) if self.output == "map" else x.mean(dim=(2, 3, 4))


@register_backbone("narrow_resnet_frames", blocks=1)
@register_backbone("resnet18_frames", blocks=2, width=FULL_WIDTH, pretrained="imagenet")
class FrameResNet(ResNet):
    """2-D ResNet on every frame of a clip, averaged over time: it sees the look of faces, not their movement.

    Width 64 with two blocks a stage is torchvision's `resnet18`.
    """

    stream = "visual"
    features = (8, "width")
    map_stride = STRIDE
    per_frame = True
    normalisation: ClassVar = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}  # ImageNet's

    def __init__(
        self, *, width: Count = 64, blocks: Count = 2, output: Output = "pooled", input_size: Count = 112
    ) -> None:
        super().__init__(3, width=width, blocks=blocks)
        self.output = output

    def forward(self, clips: Tensor) -> Tensor:
        """Normalised RGB clips (B, 3, 8, S, S) → (B, D), or the map before pooling (B, D, S/32, S/32)."""
        frames = clips.transpose(1, 2)
        x = self.spatial(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        return x.mean(dim=1) if self.output == "map" else x.mean(dim=(1, 3, 4))


def _stem(width: int) -> nn.Sequential:
    # torchvision's stem has 45 = 0.7 * 64 spatial filters; the same share of other widths, rounded to eights, since
    # vector units work on eight channels at a time and fewer cost the same.
    middle = 45 if width == FULL_WIDTH else max(8, round(0.7 * width / 8) * 8)
    return nn.Sequential(
        nn.Conv3d(3, middle, kernel_size=(1, 7, 7), stride=(1, 2, 2), padding=(0, 3, 3), bias=False),
        nn.BatchNorm3d(middle),
        nn.ReLU(inplace=True),
        nn.Conv3d(middle, width, kernel_size=(3, 1, 1), padding=(1, 0, 0), bias=False),
        nn.BatchNorm3d(width),
        nn.ReLU(inplace=True),
    )


def _aligned_conv(inputs: int, outputs: int, middle: int, stride: int = 1) -> Conv2Plus1D:
    """A (2+1)D convolution whose inner channels fill vector units: 18 of them cost twice as much as 16."""
    return Conv2Plus1D(inputs, outputs, max(16, round(middle / 16) * 16), stride)


def _stage(inputs: int, outputs: int, blocks: int, stride: int, conv: Callable[..., nn.Module]) -> nn.Sequential:
    shortcut = None
    if stride != 1 or inputs != outputs:
        shortcut = nn.Sequential(
            nn.Conv3d(inputs, outputs, kernel_size=1, stride=stride, bias=False), nn.BatchNorm3d(outputs)
        )
    first = ClipBlock(inputs, outputs, conv, stride, shortcut)
    return nn.Sequential(first, *(ClipBlock(outputs, outputs, conv) for _ in range(blocks - 1)))
