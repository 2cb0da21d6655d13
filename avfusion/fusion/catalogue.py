"""All fusion models, their options and facts, without importing torch."""

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
    """Names of all registered fusion models: of this package, then of installed packages."""
    return tuple(dict.fromkeys((*_own(), *entry_point_classes(ENTRY_POINTS))))


def find_fusion(name: str) -> Registered:
    """The fusion model by its registered name, or by `package.module:Class`.

    Raises:
        BadInputError: there is no such model, its module cannot be found, or its options are not declared properly.
    """
    found = find_registered(name, _own(), ENTRY_POINTS, "register_fusion")
    _options(found)
    return found


def fusion_module(name: str) -> str:
    """The module of a fusion model, whose code is part of the digest of its training."""
    return find_fusion(name).module


def fusion_options(name: str) -> Mapping[str, Option]:
    """A fusion model's own options, in the order of its signature."""
    return _options(find_fusion(name))


def tunable_options(name: str) -> dict[str, Option]:
    """The options for `train.options`: all except those that another key decides."""
    return {key: option for key, option in fusion_options(name).items() if key not in DECIDED_ELSEWHERE}


def takes_maps(name: str) -> bool:
    """Whether a fusion model takes visual maps instead of pooled features."""
    return bool(find_fusion(name).facts.get("takes_maps", False))


def fixed_sizes(name: str) -> Mapping[str, int]:
    """Sizes that a fusion model cannot change: see `FusionModel.fixed_sizes`."""
    sizes: Mapping[str, int] = find_fusion(name).facts.get("fixed_sizes", {})
    return sizes


def reads_frames(name: str, options: Mapping[str, Any]) -> bool:
    """Whether a fusion model with these options reads windows of frames where `features.layout` is frames.

    See `FusionModel.frame_level`.
    """
    declared, given = fusion_options(name), find_fusion(name).facts.get("frame_level", False)
    if not isinstance(given, Mapping):
        return bool(given)
    return all(options.get(option, declared[option].default) in values for option, values in given.items())


def head_kind(name: str, options: Mapping[str, Any]) -> str | None:
    """The type of head of a fusion model with these options; None: unknown.

    It is the option or class attribute `head`; with the option `faithful` it is the class attribute `faithful_head`.
    """
    declared, facts = fusion_options(name), find_fusion(name).facts
    default = declared["head"].default if "head" in declared else facts.get("head")
    found = facts.get("faithful_head") if options.get("faithful") else options.get("head", default)
    return found if isinstance(found, str) else None


def has_attention(name: str, options: Mapping[str, Any]) -> bool:
    """Whether a fusion model with these options has attention that can be made neutral."""
    return bool(find_fusion(name).facts.get("neutral_form")) and options.get("attention", True) is not False


def control_of(name: str, options: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """Name and options of the model that is this one without attention, trained so; None: there is none.

    It is that of the class attribute `control_model`, with the options that both models have; else, and for networks of
    the option `faithful`, the same model with the option `attention` false.
    """
    declared = fusion_options(name)
    switch = "attention" in declared and declared["attention"].kind is bool
    if not has_attention(name, options):
        return None
    given: dict[str, Any] = dict(find_fusion(name).facts.get("control_model") or {})
    if given and not options.get("faithful"):
        other = given.pop("model")
        shared = tunable_options(name).keys() & tunable_options(other).keys() - given.keys()
        return other, {key: options.get(key, declared[key].default) for key in sorted(shared)} | given
    return (name, {**options, "attention": False}) if switch else None


def option_fault(name: str, options: Mapping[str, Any], known: Iterable[str] | None = None) -> tuple[str, str] | None:
    """The first fault of a fusion model's options as (option, what it must be); None: no fault.

    Args:
        known: the allowed options; default: `tunable_options`.
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
