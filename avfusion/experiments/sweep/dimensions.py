"""The dimensions of a search space, as params.yaml writes them: a list is a choice, `{low, high}` a range."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from avfusion.fusion.catalogue import find_fusion, fusion_names, tunable_options
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.options import Option
from avfusion.runtime.settings import fault_text

SWEPT_TRAIN_KEYS = (
    "model",
    "lr",
    "weight_decay",
    "schedule",
    "batch_size",
    "clip_norm",
    "dropout",
    "modality_dropout",
)
"""All other keys of `train` decide the cost or the score of a trial."""
REAL_KEYS = ("lr", "weight_decay", "clip_norm", "dropout", "modality_dropout")
"""Keys with real numbers, also if written as integers (`low: 0`)."""

Value = bool | int | float | str


@dataclass(frozen=True)
class Choice:
    """One of several values, in no order."""

    values: tuple[Value, ...]

    @property
    def ends(self) -> tuple[Value, ...]:
        """The values that have to be valid for all to be."""
        return self.values

    def __contains__(self, value: object) -> bool:
        return value in self.values


@dataclass(frozen=True)
class Range:
    """All numbers from `low` to `high`, both included; integers where both are.

    Attributes:
        log: draw uniformly on a logarithmic scale.
        step: only `low`, `low + step`, …
    """

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None

    @property
    def whole(self) -> bool:
        """Integers only."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def ends(self) -> tuple[Value, ...]:
        """The values that have to be valid for all to be."""
        return self.low, self.high

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        steps = (value - self.low) / (self.step or 1)
        return (self.step is None and not self.whole) or abs(steps - round(steps)) < 1e-8


Dimension = Choice | Range


def parse_dimension(written: Any, real: bool = False) -> Dimension:
    """Read a dimension.

    Args:
        written: from YAML; numbers that YAML 1.1 reads as text (`1e-4`) are accepted in ranges.

    Raises:
        ValueError: it is neither a list nor a range, or empty; the message says what it must be.
    """
    if isinstance(written, list | tuple):
        return _choice(written, real)
    if isinstance(written, Mapping):
        return _range(written, real)
    raise ValueError("a list of values is needed, or low and high")


def space_fault(
    space: Mapping[str, Any], train: type[BaseModel], model: str | None = None
) -> tuple[str, object, str] | None:
    """The first fault of `sweep.space` as (key, value, what it must be); None: no fault.

    Args:
        train: settings that check the values of its own keys.
        model: `train.model`, whose options may be searched if no model is drawn.
    """
    drawn = space.get("model")
    named = drawn if isinstance(drawn, list) else [*fusion_names(), model]
    models = {name: tunable_options(name) for name in map(str, named) if _is_known(name)}
    options: dict[str, list[Option]] = {}
    for own in models.values():
        for key, option in own.items():
            options.setdefault(key, []).append(option)
    allowed = list(dict.fromkeys((*SWEPT_TRAIN_KEYS, *options)))
    for key, value in space.items():
        if key not in allowed:
            message = f"train and the models {', '.join(models)} have nothing of that name to search"
            return key, value, f"{message}: must be one of {', '.join(allowed)}"
        try:
            dimension = parse_dimension(value, key in REAL_KEYS)
            for end in dimension.ends:
                if key in SWEPT_TRAIN_KEYS:
                    train.model_validate({key: end})
                elif wrong := _option_fault(options[key], end, of_all=isinstance(drawn, list)):
                    return key, end, wrong
        except ValidationError as error:
            found = error.errors()[0]
            return key, found["input"], fault_text(found["msg"])
        except ValueError as error:
            return key, value, str(error)
    return None


def _is_known(model: str) -> bool:
    try:
        return bool(find_fusion(model))
    except BadInputError:
        return False


def _option_fault(options: list[Option], value: object, of_all: bool) -> str | None:
    """The fault of a value for the options of one name, in all or in any of the models; None: no fault."""
    faults = [option.fault(value) for option in options]
    return next(filter(None, faults), None) if of_all or all(faults) else None


def _choice(values: list[Any] | tuple[Any, ...], real: bool) -> Choice:
    if not values:
        raise ValueError("an empty list leaves nothing to choose from")
    if real:
        values = [_number("a value", value, True) for value in values]
    if wrong := [value for value in values if not isinstance(value, bool | int | float | str)]:
        raise ValueError(f"{wrong[0]!r} is neither a number nor a word")
    if len({(type(value), value) for value in values}) < len(values):
        raise ValueError("a value stands there twice")
    return Choice(tuple(values))


def _range(written: Mapping[str, Any], real: bool) -> Range:
    if unknown := sorted(written.keys() - {"low", "high", "log", "step"}):
        raise ValueError(f"{', '.join(map(str, unknown))} is unknown: must be one of low, high, log, step")
    if missing := [key for key in ("low", "high") if key not in written]:
        raise ValueError(f"{' and '.join(missing)} is missing")
    low, high = (_number(key, written[key], real) for key in ("low", "high"))
    step = None if written.get("step") is None else _number("step", written["step"], real)
    log = written.get("log", False)
    if not isinstance(log, bool):
        raise ValueError(f"log is {log!r}: must be true or false")
    if low >= high:
        raise ValueError(f"the range is empty: low ({low:g}) has to be less than high ({high:g})")
    if log and low <= 0:
        raise ValueError(f"a logarithmic range begins above 0, not at {low:g}")
    if log and step is not None:
        raise ValueError("log and step exclude each other")
    if step is not None and step <= 0:
        raise ValueError(f"step is {step:g}: must be above 0")
    if type(low) is not type(high):
        low, high = float(low), float(high)
    if isinstance(low, int) and isinstance(step, float):
        raise ValueError(f"step is {step:g}: between whole numbers it is a whole number")
    return Range(low, high, log, step)


def _number(key: str, value: Any, real: bool) -> int | float:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            value = None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or abs(value) == float("inf"):
        raise ValueError(f"{key} has to be a number")
    return float(value) if real else value
