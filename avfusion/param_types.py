"""What the sections of params.yaml are made of: kinds of values, the base of a section, a fault in one, and its YAML.

YAML 1.1 reads `1e-4` as a string; numbers accept it.
"""

from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from avfusion.model_names import check_fusion_name


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a number is needed, not true or false")
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise ValueError("a number is needed") from None
    return value


def _folds(value: Any) -> Any:
    if value == 1 and not isinstance(value, bool):
        raise ValueError("allowed are 0 (none) and 2 or more")
    return 0 if value is None else value


def _registered_name(name: str) -> str:
    if not name or any(sign in name for sign in "/:"):
        raise ValueError("a name without '/' and ':' is needed, as MLflow's registry has them")
    return name


Number = Annotated[float, BeforeValidator(_number)]
Positive = Annotated[Number, Field(gt=0)]
Fraction = Annotated[Number, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, strict=True)]
Seed = Annotated[int, Field(ge=0, lt=2**31, strict=True)]
Folds = Annotated[int, BeforeValidator(_folds), Field(ge=0, strict=True)]
FusionName = Annotated[str, AfterValidator(check_fusion_name)]
RegisteredName = Annotated[str, AfterValidator(_registered_name)]


def section_fault(key: str, value: object, message: str) -> PydanticCustomError:
    """A fault that a check of a whole section finds in its `key`."""
    return PydanticCustomError(
        "key", "{key} is {value}: {message}", {"key": key, "value": repr(value), "message": message}
    )


class Section(BaseModel):
    """Base of all sections: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class UniqueKeys(yaml.SafeLoader):
    """Refuses a key that is there twice, of which PyYAML takes the last in silence, and DVC none."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """As PyYAML's, after a look at the keys."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value} is there twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)
