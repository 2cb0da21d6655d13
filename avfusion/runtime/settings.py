"""Building blocks of settings (kinds of values, the base of a section), and the settings that all rooms share.

YAML 1.1 reads `1e-4` as a string; numbers accept it.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise ValueError("must be a number") from None
    return value


Number = Annotated[float, BeforeValidator(_number)]
Positive = Annotated[Number, Field(gt=0)]
Fraction = Annotated[Number, Field(ge=0, le=1)]
Share = Annotated[Number, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1, strict=True)]
Seed = Annotated[int, Field(ge=0, lt=2**31, strict=True)]


def section_fault(key: str, value: object, message: str) -> PydanticCustomError:
    """The fault of a section's `key`, from a check of the whole section."""
    return PydanticCustomError(
        "key", "{key} is {value}: {message}", {"key": key, "value": repr(value), "message": message}
    )


def fault_text(message: str) -> str:
    """A message of pydantic in our wording: `must be …`."""
    return message.removeprefix("Value error, ").replace("Input should be", "must be")


class Section(BaseModel):
    """Base of all sections: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class CommonSettings(Section):
    """Settings that all stages share."""

    threads: Count = 2
    on_error: Literal["fail", "skip"] = "fail"


class ExecutionSettings(Section):
    """Distribution of per-track work; it changes no byte of any output, so no stage depends on it."""

    executor: Literal["serial", "processes", "ray"] = "processes"
    workers: Count = 2


def divisors(number: int) -> list[int]:
    """All divisors, ascending."""
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]
