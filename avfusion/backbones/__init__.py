"""Networks that turn a clip of one stream into a feature vector; their weights, transforms and extraction.

The name below is imported when first used, so that other modules of this package cost no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avfusion.backbones.tsav import load_tsav

__all__ = ["load_tsav"]

_HOMES = {"load_tsav": "avfusion.backbones.tsav"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'avfusion.backbones' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
