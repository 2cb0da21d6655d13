"""Check that sections of params.yaml, each valid by itself, agree with each other."""

from typing import TYPE_CHECKING

from avfusion.backbones.catalogue import feature_shape
from avfusion.fusion.catalogue import fixed_sizes, takes_maps
from avfusion.runtime.settings import divisors

if TYPE_CHECKING:
    from avfusion.backbones.settings import BackbonesSettings, FeaturesSettings
    from avfusion.data.settings import GeometrySettings
    from avfusion.training.settings import TrainSettings


def disagreements(
    geometry: "GeometrySettings | None" = None,
    backbones: "BackbonesSettings | None" = None,
    features: "FeaturesSettings | None" = None,
    train: "TrainSettings | None" = None,
) -> list[str]:
    """Faults between sections, also sections that a stage does not read: one of them relies on the other."""
    faults = []
    if geometry and features and geometry.clip_frames % features.stride:
        allowed = ", ".join(map(str, divisors(geometry.clip_frames)))
        stride = f"features.stride is {features.stride}"
        faults.append(f"{stride}: must be a divisor of geometry.clip_frames ({allowed})")
    for name in dict.fromkeys((train.model, *train.baselines)) if train else ():
        if backbones and takes_maps(name) and backbones.output != "map":
            faults.append(
                f"backbones.output is {backbones.output!r}: must be map, since the fusion model {name} takes "
                "visual maps"
            )
        elif backbones:
            faults += _other_features(name, backbones)
        length = fixed_sizes(name).get("length")
        if geometry and length and geometry.sequence_clips != length:
            faults.append(
                f"geometry.sequence_clips is {geometry.sequence_clips}: must be {length}, the length of {name}"
            )
    return faults


def _other_features(model: str, backbones: "BackbonesSettings") -> list[str]:
    """Faults of backbones whose features do not have the shapes that a model of fixed size reads."""
    sizes, visual, audio, faults = fixed_sizes(model), backbones.visual, backbones.audio, []
    shape = feature_shape("visual", visual.name, visual.width, visual.input_size, backbones.output)
    wanted = (sizes.get("visual_dim", shape[0]), *[sizes.get("map_side", side) for side in shape[1:]])
    if shape != wanted:
        faults.append(
            f"backbones.visual is {visual.name} (width {visual.width}, input_size {visual.input_size}), with features "
            f"of {' x '.join(map(str, shape))}: must be {' x '.join(map(str, wanted))}, "
            f"which {model} reads"
        )
    (found,) = feature_shape("audio", audio.name, audio.width, audio.input_size)
    if found != (reads := sizes.get("audio_dim", found)):
        faults.append(f"backbones.audio is {audio.name} with {found} features: must be {reads}, which {model} reads")
    return faults
