"""Faults between sections of params.yaml that are valid each by itself."""

from typing import TYPE_CHECKING

from avfusion.model_names import MAPS_ONLY

if TYPE_CHECKING:
    from avfusion.config import Backbones, Features, Geometry, Train


def disagreements(
    geometry: "Geometry | None" = None,
    backbones: "Backbones | None" = None,
    features: "Features | None" = None,
    train: "Train | None" = None,
) -> list[str]:
    """Faults between sections, also those that a stage did not ask for: who has one of them relies on the other."""
    faults = []
    if geometry and features and geometry.clip_frames % features.stride:
        allowed = ", ".join(map(str, divisors(geometry.clip_frames)))
        stride = f"features.stride is {features.stride}"
        faults.append(f"{stride}: allowed are the divisors of geometry.clip_frames ({allowed})")
    takers = [name for name in (train.model, *train.baselines) if name in MAPS_ONLY] if train else []
    if takers and backbones and backbones.output != "map":
        faults.append(
            f"backbones.output is {backbones.output!r}: allowed is map, since the fusion model {takers[0]} takes "
            "visual maps"
        )
    return faults


def divisors(number: int) -> list[int]:
    """All divisors, ascending."""
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]
