"""Types of options: what a model's keyword arguments are annotated with, and which values these types allow."""

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Annotated, Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt

from avfusion.runtime.settings import Count, Fraction, Positive, Share

# What an annotation may name, beside what its own file assigns from these.
TYPES = {
    **{"Annotated": Annotated, "Literal": Literal, "Ge": Ge, "Gt": Gt, "Le": Le, "Lt": Lt},
    **{"bool": bool, "int": int, "float": float, "str": str},
    **{"Count": Count, "Fraction": Fraction, "Positive": Positive, "Share": Share},
}
ALLOWED_TYPES = "bool, int, float, Count, Positive, Share, Fraction, Literal[…], or Annotated[int, Ge(…), Le(…)]"

_COMPARED = {"ge": operator.ge, "gt": operator.gt, "le": operator.le, "lt": operator.lt}


@dataclass(frozen=True)
class Option:
    """One option of a model.

    Attributes:
        values: those of a Literal; empty: any of the kind, within the bounds.
        bounds: limits of a number, `ge`, `gt`, `le` and `lt`.
    """

    kind: type
    default: Any
    values: tuple[Any, ...]
    bounds: dict[str, float]

    @classmethod
    def of(cls, annotation: Any, default: Any) -> "Option":
        """Read an annotation.

        Raises:
            TypeError: the annotation is none of `ALLOWED_TYPES`.
        """
        kind, bounds = annotation, dict[str, float]()
        while get_origin(kind) is Annotated:
            kind, *metadata = get_args(kind)
            bounds |= dict(_limits(metadata))
        if get_origin(kind) is Literal:
            values = get_args(kind)
            return cls(type(values[0]), default, values, {})
        if kind not in (bool, int, float, str):
            raise TypeError("not a type of options")
        return cls(kind, default, (), bounds)

    def fault(self, value: object) -> str | None:
        """Which values are allowed, where `value` is not one of them; None: it is."""
        return None if self._holds(value) else f"must be {self.allowed}"

    def _holds(self, value: object) -> bool:
        if self.values:
            return any(value == one and type(value) is type(one) for one in self.values)
        if self.kind in (bool, str):
            return isinstance(value, self.kind)
        if isinstance(value, bool) or not isinstance(value, int if self.kind is int else int | float):
            return False
        return isfinite(value) and all(_COMPARED[name](value, limit) for name, limit in self.bounds.items())

    @property
    def allowed(self) -> str:
        """The allowed values in words."""
        if self.values:
            return f"one of {', '.join(map(str, self.values))}"
        if self.kind in (bool, str):
            return "true or false" if self.kind is bool else "a text"
        words = {"ge": "from {:g}", "gt": "above {:g}", "le": "to {:g}", "lt": "to below {:g}"}
        limits = [words[name].format(limit) for name, limit in self.bounds.items()]
        return " ".join(["a whole number" if self.kind is int else "a number", *limits])

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values at the bounds: all that a switch or a Literal has, the least and the greatest that a number may be.

        A number above which or below which the allowed ones lie is not among them, since no value is the nearest.
        """
        if self.values or self.kind is bool:
            return self.values or (False, True)
        return tuple(self.kind(self.bounds[name]) for name in ("ge", "le") if name in self.bounds)


def _limits(metadata: list[Any]) -> Iterator[tuple[str, float]]:
    for entry in metadata:
        for one in (entry, *getattr(entry, "metadata", ())):  # pydantic keeps them inside its Field
            for name, limit in (("ge", Ge), ("gt", Gt), ("le", Le), ("lt", Lt)):
                if isinstance(one, limit):
                    yield name, getattr(one, name)
