"""Backbones by name: one interface for every network that turns clips of a stream into features."""

import math
from dataclasses import dataclass

from torch import Tensor, nn

from avfusion.backbones.audio import LogMelStatistics, SpectrogramResNet
from avfusion.backbones.names import CROP_SIDES, FULL_WIDTH
from avfusion.backbones.visual import FrameResNet, R2Plus1D
from avfusion.data.feature_spec import VisualTransform
from avfusion.runtime.errors import BadInputError


@dataclass(frozen=True)
class BackboneEntry:
    """A registered backbone: its stream, class, depth, and whether its width is fixed to that of published weights."""

    stream: str
    network: type[nn.Module]
    blocks: int
    full_size: bool


BACKBONES = {
    "narrow_r2plus1d": BackboneEntry("visual", R2Plus1D, blocks=1, full_size=False),
    "r2plus1d_18": BackboneEntry("visual", R2Plus1D, blocks=2, full_size=True),
    "narrow_resnet_frames": BackboneEntry("visual", FrameResNet, blocks=1, full_size=False),
    "resnet18_frames": BackboneEntry("visual", FrameResNet, blocks=2, full_size=True),
    "narrow_resnet": BackboneEntry("audio", SpectrogramResNet, blocks=1, full_size=False),
    "resnet18": BackboneEntry("audio", SpectrogramResNet, blocks=2, full_size=True),
    "log_mel_statistics": BackboneEntry("audio", LogMelStatistics, blocks=0, full_size=False),
}
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def visual_transform(name: str, input_size: int) -> VisualTransform:
    """What crops go through before the visual backbone `name`: colours are normalised as for its published weights."""
    if BACKBONES[name].network is FrameResNet:
        return VisualTransform(input_size=input_size, **IMAGENET)
    return VisualTransform(input_size=input_size)


class Head(nn.Module):
    """Dropout and a linear layer from features to (valence, arousal), through which a backbone is trained."""

    def __init__(self, feature_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(feature_dim, 2)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, D) → (B, 2), unbounded."""
        return self.linear(self.dropout(features))


class Backbone(nn.Module):
    """A network in its place: `forward(clips)` gives features; `head(features)` gives valence and arousal.

    Attributes:
        name, stream, width, input_size: what `build_backbone` was asked for.
        feature_dim: channels D of the features.
        network: the module whose parameters carry torchvision's names.
    """

    def __init__(self, name: str, network: nn.Module, *, width: int, input_size: int, dropout: float) -> None:
        super().__init__()
        self.name = name
        self.stream = str(network.stream)
        self.width = width
        self.input_size = input_size
        self.feature_dim = int(network.feature_dim)  # type: ignore[arg-type]
        self.network = network
        self.head = Head(self.feature_dim, dropout)

    @property
    def output(self) -> str:
        """`pooled`: features (B, D); `map`: (B, D, H, W) before pooling."""
        return str(self.network.output)

    @property
    def map_side(self) -> int:
        """Rows and columns of the map of a square input."""
        return math.ceil(self.input_size / self.network.map_stride)  # type: ignore[operator]

    def forward(self, clips: Tensor) -> Tensor:
        """Clips of the stream, batched → features (B, D) or (B, D, H, W)."""
        return self.network(clips)

    def config(self) -> dict[str, object]:
        """Arguments with which `build_backbone` makes the same network."""
        return {"name": self.name, "stream": self.stream, "width": self.width, "input_size": self.input_size}


def build_backbone(
    name: str,
    *,
    stream: str,
    width: int = FULL_WIDTH,
    input_size: int | None = None,
    output: str = "pooled",
    dropout: float = 0.0,
    weights: str | None = None,
) -> Backbone:
    """Build a registered backbone.

    Args:
        stream: `audio` or `visual`; must be that of the backbone.
        width: channels of the first stage (the last has 8 times as many); 64 for the full-size ones; without effect on
            `log_mel_statistics`.
        input_size: pixels of a crop's side (default 112), or mel bands (default 64).
        output: `pooled` or `map`.
        dropout: share of features that the head drops in training.
        weights: None or `random`; `kinetics400` / `imagenet` (torchvision's, downloaded once); `tsav` (imported); or a
            safetensors file.

    Raises:
        BadInputError: unknown name, wrong stream, a shape that the backbone does not have, or unusable weights.
    """
    known = [entry for entry, value in BACKBONES.items() if value.stream == stream]
    if name not in known:
        raise BadInputError(f"backbones.{stream}.name is {name!r}: must be one of {', '.join(known) or 'none'}")
    entry = BACKBONES[name]
    if entry.full_size and width != FULL_WIDTH:
        raise BadInputError(f"backbones.{stream}.width is {width}: {name} has {FULL_WIDTH}")
    if output not in ("pooled", "map"):
        raise BadInputError(f"backbones.output is {output!r}: must be one of pooled, map")
    size = input_size or (112 if stream == "visual" else 64)
    smallest, largest = CROP_SIDES
    if stream == "visual" and not smallest <= size <= largest:
        raise BadInputError(
            f"backbones.visual.input_size is {size}: must be from {smallest} to {largest} pixels (a crop's size)"
        )
    network = entry.network(width=width, blocks=entry.blocks, output=output, input_size=size)
    if output == "map" and network.map_stride is None:
        raise BadInputError(f"backbones.output is 'map': must be 'pooled', since {name} has no map")
    backbone = Backbone(name, network, width=width, input_size=size, dropout=dropout)
    if weights not in (None, "random"):
        from avfusion.backbones.pretrained import load_pretrained

        load_pretrained(backbone, str(weights))
    return backbone
