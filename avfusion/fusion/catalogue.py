"""Which fusion models there are, their options and facts about them, without importing torch."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from avfusion.runtime.errors import BadInputError
from avfusion.runtime.options import Option
from avfusion.runtime.registered import Registered, entry_point_classes, find_registered, registered_classes

ENTRY_POINTS = "avfusion.fusion"
SIZES = ("audio_dim", "visual_dim", "length")
DECIDED_ELSEWHERE = {
    "dropout": "it is train.dropout",
    "length": "it is geometry.sequence_clips",
    "audio_dim": "it comes from the features",
    "visual_dim": "it comes from the features",
}


def fusion_names() -> tuple[str, ...]:
    """All registered fusion models: those of this package, then those of installed packages."""
    return tuple(dict.fromkeys((*_own(), *entry_point_classes(ENTRY_POINTS))))


def find_fusion(name: str) -> Registered:
    """The fusion model of a name: a registered one, or `package.module:Class`.

    Raises:
        BadInputError: there is none, its module cannot be found, or its options are not declared as they must be.
    """
    found = find_registered(name, _own(), ENTRY_POINTS, "register_fusion")
    _options(found)
    return found


def fusion_module(name: str) -> str:
    """The module that defines a fusion model, whose code is part of the digest of its training."""
    return find_fusion(name).module


def fusion_options(name: str) -> Mapping[str, Option]:
    """A fusion model's own options, in the order of its signature."""
    return _options(find_fusion(name))


def tunable_options(name: str) -> dict[str, Option]:
    """The options that `train.options` may set: all but those that another key decides."""
    return {key: option for key, option in fusion_options(name).items() if key not in DECIDED_ELSEWHERE}


def takes_maps(name: str) -> bool:
    """Whether a fusion model takes visual maps and no pooled features."""
    return bool(find_fusion(name).facts.get("takes_maps", False))


def fixed_sizes(name: str) -> Mapping[str, int]:
    """Sizes that a fusion model cannot change: see `FusionModel.fixed_sizes`."""
    sizes: Mapping[str, int] = find_fusion(name).facts.get("fixed_sizes", {})
    return sizes


def option_fault(name: str, options: Mapping[str, Any], known: Iterable[str] | None = None) -> tuple[str, str] | None:
    """What is wrong with options of a fusion model: (the option, what is allowed); None: nothing.

    Args:
        known: the options that may be set; default: `tunable_options`.
    """
    declared = fusion_options(name)
    allowed = tuple(tunable_options(name) if known is None else known)
    for option, value in options.items():
        if option not in allowed:
            why = f" ({DECIDED_ELSEWHERE[option]})" if option in DECIDED_ELSEWHERE else ""
            return option, f"{name} has no such option{why}: must be one of {', '.join(allowed) or 'none'}"
        if wrong := declared[option].fault(value):
            return option, wrong
    return None


@cache
def _own() -> dict[str, Registered]:
    return registered_classes("avfusion.fusion", "register_fusion")


def _options(model: Registered) -> Mapping[str, Option]:
    missing = [size for size in SIZES if size not in model.arguments]
    if missing:
        raise BadInputError(f"__init__ of {model.class_name} has no keyword argument {', '.join(missing)}")
    return {key: option for key, option in model.arguments.items() if key not in SIZES}
