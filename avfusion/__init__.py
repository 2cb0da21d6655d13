"""Valence and arousal for every frame of a video, by joint cross-attention of face and voice (arXiv 2209.09068).

The names below are imported when first used, so that `import avfusion` costs no torch.
"""

from typing import TYPE_CHECKING

from avfusion.runtime import forks  # noqa: F401 (it remembers the process that imports the package)
from avfusion.runtime.lazy_names import names_from

if TYPE_CHECKING:
    from avfusion.fusion.registry import build_fusion
    from avfusion.inference.predictor import Predictor
    from avfusion.scoring.ccc import ccc

__version__ = "0.1.0"
__all__ = ["Predictor", "build_fusion", "ccc"]

_HOMES = {
    "ccc": "avfusion.scoring.ccc",
    "Predictor": "avfusion.inference.predictor",
    "build_fusion": "avfusion.fusion.registry",
}

__getattr__ = names_from(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
