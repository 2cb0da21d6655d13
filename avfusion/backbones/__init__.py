"""Networks that turn a clip of one stream into a feature vector; their weights, transforms and extraction.

The name below is imported when first used, so that other modules of this package cost no torch.
"""

from typing import TYPE_CHECKING

from avfusion.runtime.lazy_names import names_from

if TYPE_CHECKING:
    from avfusion.backbones.tsav import load_tsav

__all__ = ["load_tsav"]

_HOMES = {"load_tsav": "avfusion.backbones.tsav"}

__getattr__ = names_from(__name__, _HOMES)
