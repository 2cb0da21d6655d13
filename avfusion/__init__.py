"""Valence and arousal for every frame of a video, by joint cross-attention of face and voice (arXiv 2209.09068).

The names below are imported when first used, so that `import avfusion` costs no torch.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = ["Predictor", "build_fusion", "ccc"]

_HOMES = {
    "ccc": "avfusion.scoring.ccc",
    "Predictor": "avfusion.inference.predictor",
    "build_fusion": "avfusion.fusion",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'avfusion' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
