"""Fusion models: one file each, one registry, one call (see `FusionModel.forward`)."""

from avfusion.fusion.base import FusionModel, FusionOutput
from avfusion.fusion.published import load_jointcam, load_paper_jca
from avfusion.fusion.registry import FUSION_MODELS, build_fusion, model_options

__all__ = [
    "FUSION_MODELS",
    "FusionModel",
    "FusionOutput",
    "build_fusion",
    "load_jointcam",
    "load_paper_jca",
    "model_options",
]
