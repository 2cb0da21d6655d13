"""Fusion models in other forms than their default one, for the suites that every model passes."""

from typing import Any

from avfusion.fusion import fusion_names

NARROW = {"encoder_width": 16}
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "recursive_jca, faithful": ("recursive_jca", {"faithful": True, **NARROW}),
    "dynamic, faithful": ("dynamic", {"faithful": True, **NARROW}),
}
"""(Name, options) by title."""
EVERY: dict[str, tuple[str, dict[str, Any]]] = {name: (name, {}) for name in fusion_names()} | FORMS
