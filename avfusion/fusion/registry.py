"""Fusion models by name."""

import inspect
from typing import Any

from avfusion.fusion.base import FusionModel
from avfusion.fusion.concat import Concat
from avfusion.fusion.cross_attention import CrossAttentionFusion
from avfusion.fusion.dynamic import DynamicCrossAttention
from avfusion.fusion.jca import JointCrossAttention
from avfusion.fusion.late import Late
from avfusion.fusion.leader_follower import LeaderFollower
from avfusion.fusion.modality_gate import ModalityGate
from avfusion.fusion.model_names import check_option_value
from avfusion.fusion.recursive_jca import RecursiveJointCrossAttention
from avfusion.fusion.released_coattention import ReleasedCoAttention
from avfusion.fusion.self_attention import SelfAttention
from avfusion.fusion.unimodal import AudioOnly, VisualOnly
from avfusion.runtime.errors import BadInputError

FUSION_MODELS: dict[str, type[FusionModel]] = {
    model.name: model
    for model in (
        AudioOnly,
        VisualOnly,
        Concat,
        Late,
        SelfAttention,
        CrossAttentionFusion,
        JointCrossAttention,
        RecursiveJointCrossAttention,
        DynamicCrossAttention,
        ModalityGate,
        LeaderFollower,
        ReleasedCoAttention,
    )
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
        BadInputError: unknown name or option, or a value that an option cannot have; the message says what can be.
    """
    if name not in FUSION_MODELS:
        raise BadInputError(f"fusion model {name!r} is unknown: must be one of {', '.join(FUSION_MODELS)}")
    model = FUSION_MODELS[name]
    known = model_options(name)
    if unknown := sorted(options.keys() - set(known)):
        raise BadInputError(f"{name} has no option {', '.join(unknown)}: its options are {', '.join(known)}")
    for option, value in options.items():
        if allowed := check_option_value(option, value):
            raise BadInputError(f"{name}: {option} is {value!r}: {allowed}")
    built = model(audio_dim=audio_dim, visual_dim=visual_dim, length=length, **options)
    built.options = known | options
    return built


def model_options(name: str) -> dict[str, Any]:
    """A fusion model's own options with their defaults."""
    parameters = inspect.signature(FUSION_MODELS[name].__init__).parameters
    return {key: p.default for key, p in parameters.items() if key not in ("self", "audio_dim", "visual_dim", "length")}
