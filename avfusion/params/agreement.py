"""Check that sections of params.yaml, each valid by itself, agree with each other."""

from typing import TYPE_CHECKING

from avfusion.backbones.catalogue import feature_shape
from avfusion.fusion.catalogue import fixed_sizes, takes_maps
from avfusion.fusion.reading import reading_of
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.settings import divisors

if TYPE_CHECKING:
    from avfusion.backbones.settings import BackbonesSettings, FeaturesSettings
    from avfusion.data.settings import GeometrySettings
    from avfusion.experiments.settings import RobustnessSettings
    from avfusion.training.settings import TrainSettings


def disagreements(
    geometry: "GeometrySettings | None" = None,
    backbones: "BackbonesSettings | None" = None,
    features: "FeaturesSettings | None" = None,
    train: "TrainSettings | None" = None,
    robustness: "RobustnessSettings | None" = None,
) -> list[str]:
    """Faults between sections, also sections that a stage does not read: one of them relies on the other."""
    faults = []
    if backbones and features and features.layout == "frames" and backbones.output == "map":
        faults.append("backbones.output is 'map': must be pooled with features.layout frames")
    if geometry and features and geometry.clip_frames % features.stride:
        allowed = ", ".join(map(str, divisors(geometry.clip_frames)))
        stride = f"features.stride is {features.stride}"
        faults.append(f"{stride}: must be a divisor of geometry.clip_frames ({allowed})")
    for name in dict.fromkeys((train.model, *train.baselines)) if train else ():
        if train and geometry and features and features.layout == "frames":
            faults += _unreadable_frames(name, train, geometry, features, robustness)
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


def _unreadable_frames(
    model: str,
    train: "TrainSettings",
    geometry: "GeometrySettings",
    features: "FeaturesSettings",
    robustness: "RobustnessSettings | None",
) -> list[str]:
    """Faults of the layout `frames` with a model of section `train`."""
    if takes_maps(model):
        return [f"features.layout is 'frames': must be clips, since {model} takes visual maps, which frames have not"]
    try:
        reading = reading_of(
            model, train.options if model == train.model else {}, geometry, features.stride, features.layout
        )
    except BadInputError as error:
        return [str(error)]
    if robustness and reading.hop is not None and robustness.stride != features.stride:
        wanted = f"must be features.stride ({features.stride})"
        return [f"robustness.stride is {robustness.stride}: {wanted}, since {model} reads {reading.words}"]
    return []


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
