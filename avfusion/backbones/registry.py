"""Register backbones by name, and build them, with one interface for all networks."""

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from torch import Tensor, nn

from avfusion.backbones.catalogue import backbone_fault, feature_shape, find_backbone, network_arguments
from avfusion.data.feature_spec import VisualTransform
from avfusion.runtime.errors import BadInputError

Output = Literal["pooled", "map"]
Network = TypeVar("Network", bound=nn.Module)


def register_backbone(name: str, **about: Any) -> Callable[[type[Network]], type[Network]]:
    """Register the decorated network class as backbone `name`.

    Its `__init__` takes `width`, `input_size` and `output` by keyword, with types and bounds. Class attributes declare
    the rest: `stream`; `features`, (n, "width" or "input_size"), for n features per unit of either; `map_stride`, the
    stride of the map, None without a map; `normalisation`, mean and std of colours for its weights; `per_frame`, true
    if it encodes each frame of a clip by itself.

    Args:
        about: `width`, if fixed; `pretrained`, torchvision's weights; `imported`, weights from `avfusion
            import-weights`; all else is passed to `__init__`.
    """
    return lambda network: network


def visual_transform(name: str, input_size: int) -> VisualTransform:
    """The transform of crops before a visual backbone, with the normalisation of its weights."""
    normalisation = find_backbone("visual", name).facts.get("normalisation") or {}
    return VisualTransform(input_size=input_size, **normalisation)


class Head(nn.Module):
    """Dropout and a linear layer from features to (valence, arousal), for training a backbone."""

    def __init__(self, feature_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(feature_dim, 2)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, D) → (B, 2), unbounded."""
        return self.linear(self.dropout(features))


class Backbone(nn.Module):
    """A network with its head: `forward(clips)` gives features; `head(features)` gives valence and arousal.

    Attributes:
        name, stream, width, input_size: arguments of `build_backbone`.
        feature_shape: shape of a clip's features, (D,), or of the map before pooling, (D, H, W).
        network: the module whose parameters have torchvision's names.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        *,
        stream: str,
        width: int,
        input_size: int,
        feature_shape: tuple[int, ...],
        dropout: float,
    ) -> None:
        super().__init__()
        self.name, self.stream, self.width, self.input_size = name, stream, width, input_size
        self.feature_shape = feature_shape
        self.network = network
        self.head = Head(self.feature_dim, dropout)

    @property
    def feature_dim(self) -> int:
        """Channels D of the features."""
        return self.feature_shape[0]

    @property
    def output(self) -> str:
        """`pooled`: features (B, D); `map`: (B, D, H, W) before pooling."""
        return "pooled" if len(self.feature_shape) == 1 else "map"

    def forward(self, clips: Tensor) -> Tensor:
        """Clips of the stream, batched → features (B, D) or (B, D, H, W)."""
        return self.network(clips)

    def config(self) -> dict[str, object]:
        """Arguments for `build_backbone` that make the same network."""
        return {"name": self.name, "stream": self.stream, "width": self.width, "input_size": self.input_size}


def build_backbone(
    name: str,
    *,
    stream: str,
    width: int = 64,
    input_size: int | None = None,
    output: str = "pooled",
    dropout: float = 0.0,
) -> Backbone:
    """Build a backbone with random weights (`avfusion.backbones.pretrained` loads others).

    Args:
        width: channels of the first stage (the last has 8 times as many); 64 for full-size backbones; no effect on
            `log_mel_statistics`.
        input_size: pixels of a crop's side (default 112), or mel bands (default 64).
        output: `pooled` or `map`.
        dropout: share of features that the head drops in training.

    Raises:
        BadInputError: the name is unknown, the stream is wrong, or the backbone cannot have this shape.
    """
    size = input_size or (112 if stream == "visual" else 64)
    if wrong := backbone_fault(stream, name, "random", width, size):
        key, allowed = wrong
        value = {"name": name, "width": width, "input_size": size}[key]
        raise BadInputError(f"backbones.{stream}.{key} is {value!r}: {allowed}")
    if output not in ("pooled", "map"):
        raise BadInputError(f"backbones.output is {output!r}: must be one of pooled, map")
    shape = feature_shape(stream, name, width, size, output)
    entry = find_backbone(stream, name)
    try:
        made = entry.load()
    except BadInputError as error:
        raise BadInputError(f"backbones.{stream}.name is {name!r}: {error}") from None
    if not issubclass(made, nn.Module):
        raise BadInputError(f"backbones.{stream}.name is {name!r}: must derive from torch.nn.Module")
    sizes = {"width": width, "output": output, "input_size": size}
    network = entry.build(f"backbones.{stream}.name {name!r}", **sizes, **network_arguments(entry))
    return Backbone(name, network, stream=stream, width=width, input_size=size, feature_shape=shape, dropout=dropout)
