"""Fusion models in other forms than their default one, for the suites that every model passes."""

from typing import Any

from avfusion.fusion import fusion_names

NARROW = {"encoder_width": 16}
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "recursive_jca, faithful": ("recursive_jca", {"faithful": True, **NARROW}),
    "dynamic, faithful": ("dynamic", {"faithful": True, **NARROW}),
    "modality_gate, faithful": ("modality_gate", {"faithful": True, "head_hidden": 32, **NARROW}),
    "leader_follower, paper": ("leader_follower", {"form": "paper", **NARROW}),
    "leader_follower, abaw2": ("leader_follower", {"form": "abaw2", **NARROW}),
    "leader_follower, abaw3": ("leader_follower", {"form": "abaw3", **NARROW}),
    "grjca, hierarchical": ("grjca", {"hierarchical": True, "attention": "joint", "temporal": "none", **NARROW}),
    "tagf, linear": ("tagf", {"score": "linear", **NARROW}),
    "jca, awake": (
        "jca",
        {
            "correlation_scale": "length",
            "correlation_norm": True,
            "correlation_std": 0.5,
            "correlation_dropout": 0.3,
            **NARROW,
        },
    ),
    "jca, learnt gain": ("jca", {"correlation_scale": "learnt", "correlation_std": 0.5, **NARROW}),
    "late, not renormalised": ("late", {"renormalise": False, **NARROW}),
}
"""(Name, options) by title."""
EVERY: dict[str, tuple[str, dict[str, Any]]] = {name: (name, {}) for name in fusion_names()} | FORMS
