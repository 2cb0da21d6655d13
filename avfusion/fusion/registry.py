"""Register fusion models by name, and build them."""

from collections.abc import Callable
from typing import Any, TypeVar

from avfusion.fusion.base import FusionModel
from avfusion.fusion.catalogue import find_fusion, fusion_options
from avfusion.runtime.errors import BadInputError

Model = TypeVar("Model", bound=FusionModel)


def register_fusion(name: str) -> Callable[[type[Model]], type[Model]]:
    """Register the decorated class as fusion model `name`; its keyword arguments are the model's options.

    `avfusion.fusion.catalogue` finds the decorator in the source, so that names and options are known without torch.
    """

    def register(model: type[Model]) -> type[Model]:
        model.name = name
        return model

    return register


def fusion_class(name: str) -> type[FusionModel]:
    """Import the class of a fusion model.

    Raises:
        BadInputError: there is no such model, it cannot be imported, or it is not a `FusionModel`.
    """
    try:
        found = find_fusion(name).load()
    except BadInputError as error:
        raise BadInputError(f"fusion model {name!r}: {error}") from None
    if not issubclass(found, FusionModel):
        raise BadInputError(f"fusion model {name!r}: must derive from avfusion.fusion.base.FusionModel")
    return found


def build_fusion(
    name: str, *, audio_dim: int = 512, visual_dim: int = 512, length: int = 16, **options: Any
) -> FusionModel:
    """Build a fusion model.

    Args:
        visual_dim: width of the visual features (channels, for maps).
        length: clips in a sequence, L.

    Raises:
        BadInputError: a name or option is unknown, or an option has an invalid value; the message says what it must be.
    """
    fusion_class(name)
    known = fusion_options(name)
    if unknown := sorted(options.keys() - set(known)):
        raise BadInputError(f"{name} has no option {', '.join(unknown)}: its options are {', '.join(known)}")
    for option, value in options.items():
        if wrong := known[option].fault(value):
            raise BadInputError(f"{name}: {option} is {value!r}: {wrong}")
    sizes = {"audio_dim": audio_dim, "visual_dim": visual_dim, "length": length}
    built: FusionModel = find_fusion(name).build(f"fusion model {name!r}", **sizes, **options)
    if not hasattr(built, "audio_mean"):
        wanted = f"super().__init__({', '.join(sizes)})"
        raise BadInputError(f"fusion model {name!r}: __init__ of {type(built).__name__} must call {wanted}")
    built.name = name
    built.options = model_options(name) | options
    return built


def model_options(name: str) -> dict[str, Any]:
    """A fusion model's own options with their defaults."""
    return {key: option.default for key, option in fusion_options(name).items()}
