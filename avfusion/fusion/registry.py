"""Fusion models by name."""

import inspect
from typing import Any

from avfusion.errors import BadInputError
from avfusion.fusion.base import FusionModel
from avfusion.fusion.concat import Concat
from avfusion.fusion.jca import JointCrossAttention
from avfusion.fusion.released_coattention import ReleasedCoAttention
from avfusion.fusion.unimodal import AudioOnly, VisualOnly

FUSION_MODELS: dict[str, type[FusionModel]] = {
    model.name: model for model in (AudioOnly, VisualOnly, Concat, JointCrossAttention, ReleasedCoAttention)
}


def build_fusion(
    name: str, *, audio_dim: int = 512, visual_dim: int = 512, length: int = 16, **options: Any
) -> FusionModel:
    """Make a fusion model.

    Args:
        name: an entry of `FUSION_MODELS`.
        audio_dim: width of the audio features.
        visual_dim: width of the visual features (channels, for maps).
        length: clips in a sequence, L.
        **options: the model's own options.

    Raises:
        BadInputError: unknown name or option; the message lists what there is.
    """
    if name not in FUSION_MODELS:
        raise BadInputError(f"fusion model {name!r} is unknown: allowed are {', '.join(FUSION_MODELS)}")
    model = FUSION_MODELS[name]
    known = model_options(name)
    if unknown := sorted(options.keys() - set(known)):
        raise BadInputError(f"{name} has no option {', '.join(unknown)}: its options are {', '.join(known)}")
    return model(audio_dim=audio_dim, visual_dim=visual_dim, length=length, **options)


def model_options(name: str) -> list[str]:
    """Names of a fusion model's own options."""
    parameters = inspect.signature(FUSION_MODELS[name].__init__).parameters
    return [key for key in parameters if key not in ("self", "audio_dim", "visual_dim", "length")]
