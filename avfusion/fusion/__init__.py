"""Fusion models: one file each, one registry, one call (see `FusionModel.forward`).

The names below are imported when first used, so that params can be checked without torch.
"""

from typing import TYPE_CHECKING

from avfusion.runtime.lazy_names import names_from

if TYPE_CHECKING:
    from avfusion.fusion.base import FusionModel, FusionOutput
    from avfusion.fusion.catalogue import fusion_names
    from avfusion.fusion.published import load_jointcam, load_paper_jca
    from avfusion.fusion.published_forms.weights import load_faithful, load_network
    from avfusion.fusion.registry import build_fusion, model_options, register_fusion

__all__ = [
    "FusionModel",
    "FusionOutput",
    "build_fusion",
    "fusion_names",
    "load_faithful",
    "load_jointcam",
    "load_network",
    "load_paper_jca",
    "model_options",
    "register_fusion",
]

_HOMES = {
    **dict.fromkeys(("FusionModel", "FusionOutput"), "avfusion.fusion.base"),
    **dict.fromkeys(("load_jointcam", "load_paper_jca"), "avfusion.fusion.published"),
    **dict.fromkeys(("load_faithful", "load_network"), "avfusion.fusion.published_forms.weights"),
    **dict.fromkeys(("build_fusion", "model_options", "register_fusion"), "avfusion.fusion.registry"),
    "fusion_names": "avfusion.fusion.catalogue",
}

__getattr__ = names_from(__name__, _HOMES)
