"""All backbones, their sizes and weights, without importing torch."""

import math
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from avfusion.runtime.errors import BadInputError
from avfusion.runtime.registered import Registered, entry_point_classes, find_registered, registered_classes
from avfusion.runtime.units import unit_digest

if TYPE_CHECKING:
    from avfusion.data.feature_spec import FeatureSpec

ENTRY_POINTS = "avfusion.backbones"
CROP_SIDES = (16, 112)  # least and greatest input of a visual backbone in pixels; the greatest is a crop's size
IMPORT_FOLDER = "models/imported"  # folder of the project for `avfusion import-weights`
_FACTS = {  # class attributes of a network, and whether they are required
    "stream": True,
    "features": True,
    "map_stride": False,
    "normalisation": False,
    "per_frame": False,
}
_SIZES = ("width", "input_size", "output")
_ENTRY = ("width", "pretrained", "imported")  # arguments of the decorator that are not passed to the network


def backbone_names(stream: str) -> tuple[str, ...]:
    """Names of the registered backbones of a stream: of this package, then of installed packages."""
    own = (name for name, entry in _own().items() if entry.facts["stream"] == stream)
    return tuple(dict.fromkeys((*own, *entry_point_classes(ENTRY_POINTS))))


def find_backbone(stream: str, name: str) -> Registered:
    """The backbone by its registered name, or by `package.module:Class`.

    Raises:
        BadInputError: the stream has no such backbone, its module cannot be found, or the class lacks a required
            declaration.
    """
    known = {own: entry for own, entry in _own().items() if entry.facts["stream"] == stream}
    found = find_registered(name, known, ENTRY_POINTS, "register_backbone")
    if missing := [fact for fact, needed in _FACTS.items() if needed and fact not in found.facts]:
        raise BadInputError(f"class {found.class_name} has no attribute {' and no '.join(missing)}")
    if found.facts["stream"] != stream:
        raise BadInputError(f"class {found.class_name} is a backbone of the {found.facts['stream']} stream")
    if missing := [size for size in _SIZES if size not in found.arguments]:
        raise BadInputError(f"__init__ of {found.class_name} has no keyword argument {', '.join(missing)}")
    return found


def backbone_module(stream: str, name: str) -> str:
    """The module of a backbone's network, whose code is part of the digest of its weights and features."""
    return find_backbone(stream, name).module


def network_arguments(entry: Registered) -> dict[str, Any]:
    """The network's arguments from the decorator, such as its depth."""
    return {key: value for key, value in entry.given.items() if key not in _ENTRY}


def feature_shape(stream: str, name: str, width: int, input_size: int, output: str = "pooled") -> tuple[int, ...]:
    """Shape of a clip's features: (D,), or (D, side, side) of the map of a square input.

    Raises:
        BadInputError: the backbone does not exist, or has no map.
    """
    facts = find_backbone(stream, name).facts
    factor, size = facts["features"]
    channels = factor * {"width": width, "input_size": input_size}[size]
    if output != "map":
        return (channels,)
    if facts.get("map_stride") is None:
        raise BadInputError(f"backbones.output is 'map': must be 'pooled', since {name} has no map")
    side = math.ceil(input_size / facts["map_stride"])
    return (channels, side, side)


def encodes_frames(name: str) -> bool:
    """Whether a visual backbone encodes each frame of a clip by itself, so that a frame has a vector of its own."""
    return bool(find_backbone("visual", name).facts.get("per_frame", False))


def pretrained(name: str) -> str | None:
    """Name of torchvision's weights for a backbone of this package, if any."""
    source: str | None = _own()[name].given.get("pretrained") if name in _own() else None
    return source


def pretrained_sources() -> Mapping[str, tuple[str, ...]]:
    """Backbones by the name of torchvision's weights that fit them."""
    return _by_source((source, name) for name in _own() if (source := pretrained(name)))


def imported_sources() -> Mapping[str, tuple[str, ...]]:
    """Backbones by the name of the weights that `avfusion import-weights` makes for them."""
    return _by_source((source, name) for name, entry in _own().items() for source in entry.given.get("imported", ()))


def backbone_fault(stream: str, name: str, weights: str, width: int, input_size: int) -> tuple[str, str] | None:
    """The first fault of a stream's backbone as (key, what it must be); None: no fault."""
    try:
        entry = find_backbone(stream, name)
    except BadInputError as error:
        return "name", str(error)
    ready = ["random", *filter(None, [pretrained(name)]), *entry.given.get("imported", ())]
    if weights not in ready and not weights.endswith(".safetensors"):
        return "weights", f"must be {', '.join(ready)}, or a .safetensors file (pickled checkpoints can run code)"
    fixed = entry.given.get("width")
    if fixed is not None and width != fixed:
        return "width", f"must be {fixed}, the width of {name}"
    smallest, largest = CROP_SIDES
    if stream == "visual" and not smallest <= input_size <= largest:
        return "input_size", f"must be from {smallest} to {largest} pixels (a crop's size)"
    for key, value in (("width", width), ("input_size", input_size)):
        if wrong := entry.arguments[key].fault(value):
            return key, wrong
    return None


def _by_source(pairs: Iterator[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for source, name in pairs:
        found[source] = (*found.get(source, ()), name)
    return found


@cache
def _own() -> dict[str, Registered]:
    return registered_classes("avfusion.backbones", "register_backbone")


def extraction_code(spec: "FeatureSpec") -> str:
    """Digest of the code that extracts features by a spec, including the two networks."""
    networks = {backbone_module(stream, identity.name) for stream, identity in spec.backbones.items()}
    return unit_digest("features", *sorted(networks))
