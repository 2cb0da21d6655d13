"""Faults between sections of params.yaml that are valid each by itself."""

from typing import TYPE_CHECKING

from avfusion.backbones.names import feature_values
from avfusion.fusion.model_names import MAPS_ONLY
from avfusion.runtime.settings import divisors

if TYPE_CHECKING:
    from avfusion.backbones.settings import BackbonesSettings, FeaturesSettings
    from avfusion.data.settings import GeometrySettings
    from avfusion.training.settings import TrainSettings

SEQUENCE, VECTOR, MAP = 16, 512, 512 * 7 * 7  # what the published fusion network reads


def disagreements(
    geometry: "GeometrySettings | None" = None,
    backbones: "BackbonesSettings | None" = None,
    features: "FeaturesSettings | None" = None,
    train: "TrainSettings | None" = None,
) -> list[str]:
    """Faults between sections, also those that a stage did not ask for: who has one of them relies on the other."""
    faults = []
    if geometry and features and geometry.clip_frames % features.stride:
        allowed = ", ".join(map(str, divisors(geometry.clip_frames)))
        stride = f"features.stride is {features.stride}"
        faults.append(f"{stride}: must be a divisor of geometry.clip_frames ({allowed})")
    takers = [name for name in (train.model, *train.baselines) if name in MAPS_ONLY] if train else []
    if takers and backbones and backbones.output != "map":
        faults.append(
            f"backbones.output is {backbones.output!r}: must be map, since the fusion model {takers[0]} takes "
            "visual maps"
        )
    elif takers and backbones:
        faults += _other_maps(takers[0], backbones)
    if takers and geometry and geometry.sequence_clips != SEQUENCE:
        faults.append(
            f"geometry.sequence_clips is {geometry.sequence_clips}: must be {SEQUENCE}, the length of {takers[0]}"
        )
    return faults


def _other_maps(model: str, backbones: "BackbonesSettings") -> list[str]:
    """Features of other shapes than the published fusion network's."""
    visual, audio = backbones.visual, backbones.audio
    faults = []
    if visual.name.endswith("_frames") or feature_values(visual.name, visual.width, visual.input_size, "map") != MAP:
        names = f"{visual.name} (width {visual.width}, input_size {visual.input_size})"
        faults.append(
            f"backbones.visual is {names}: must be r2plus1d_18 (64, 112), since {model} reads maps of 512 x 7 x 7"
        )
    if (found := feature_values(audio.name, audio.width, audio.input_size)) != VECTOR:
        faults.append(
            f"backbones.audio is {audio.name} with {found} features: must be resnet18, since {model} reads {VECTOR}"
        )
    return faults
