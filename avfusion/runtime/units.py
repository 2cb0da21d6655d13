"""Which modules compute what: the units whose results are kept, and the modules that decide no number.

A unit is what a person waits for: the frames of a track, a backbone, a fusion model at one seed. Its code is the
modules below and all that they import (`avfusion.runtime.code_digest`); a network adds the module that it is defined
in. When that code changes, the unit's results are made anew, and no others.
"""

from collections.abc import Mapping
from functools import cache

from avfusion.runtime.code_digest import code_digest

UNITS: Mapping[str, tuple[str, ...]] = {
    # The training of a backbone; the network's own module is added.
    "audio_backbone": (
        *("avfusion.backbones.registry", "avfusion.training.train_backbone", "avfusion.training.audio_backbone"),
    ),
    "visual_backbone": (
        *("avfusion.backbones.registry", "avfusion.training.train_backbone", "avfusion.training.visual_backbone"),
    ),
    # The training of a fusion model on cached features; the model's own module is added.
    "fusion": ("avfusion.training.loop", "avfusion.data.track_data"),
}

NEUTRAL: Mapping[str, str] = {
    "avfusion.runtime.atomic": "how files are written, not what stands in them",
    "avfusion.runtime.errors": "what people are told",
    "avfusion.runtime.execution": "where work is done; every executor gives the same bytes",
    "avfusion.runtime.progress": "what people are told",
    "avfusion.runtime.stamps": "which results are kept, not what stands in them",
    "avfusion.runtime.workers": "where work is done",
}


@cache
def unit_digest(unit: str, *modules: str) -> str:
    """Digest of the code of a unit, and of `modules` that it is computed by besides (a network's)."""
    return code_digest((*UNITS[unit], *modules), NEUTRAL)
