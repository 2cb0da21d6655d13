"""Facts about a model for readers of its predictions."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from avfusion.runtime.errors import AVFusionError
from avfusion.runtime.project import project_root

if TYPE_CHECKING:
    from avfusion.inference.predictor import Predictor

RECORDS = (".avfusion/registration.json", "reports/register/model_version.json")
UNKNOWN_LICENCE = "not recorded"


@dataclass(frozen=True)
class ModelCard:
    """A description of a model.

    Attributes:
        scores: pooled CCC on that corpus's validation split, `valence`, `arousal` and `mean`; empty if this project has
            no record of it.
        notes: what readers of its values must know.
        backbones: per stream: architecture, origin of the weights, their terms.
    """

    fusion: str
    source: str
    digest: str
    corpus: str
    scores: dict[str, float]
    backbones: dict[str, tuple[str, str, str]]
    timing: str
    notes: tuple[str, ...] = ()


def model_card(predictor: "Predictor", root: Path | None = None) -> ModelCard:
    """Describe a predictor's model; scores come from the registry of the project at `root` (default: the one here)."""
    spec = predictor.spec
    backbones: dict[str, tuple[str, str, str]] = {
        stream: (identity.name, identity.source, identity.licence or UNKNOWN_LICENCE)
        for stream, identity in sorted(spec.backbones.items())
    }
    clock = "every video frame" if spec.geometry.fps is None else f"{spec.geometry.fps:g} frames per second"
    seen = f"clips of {spec.geometry.clip_frames} frames" if predictor.reading.hop is None else predictor.reading.words
    timing = f"{predictor.mode}; {seen} at {clock}"
    scores = _recorded_scores(predictor.digest, root)
    known = predictor.name, predictor.source, predictor.digest, predictor.corpus
    return ModelCard(*known, scores, backbones, timing, predictor.notes)


def _recorded_scores(digest: str, root: Path | None) -> dict[str, float]:
    try:
        root = project_root() if root is None else root
    except AVFusionError:
        return {}
    for name in RECORDS:
        try:
            record = json.loads((root / name).read_text(encoding="utf-8"))
            if record["model_digest"] == digest:
                found = {name: record["metrics"][f"ccc_{name}"] for name in ("valence", "arousal", "mean")}
                return {name: float(score) for name, score in found.items() if score is not None}
        except (OSError, ValueError, KeyError, TypeError):
            continue  # no record of ours: the card then has no scores
    return {}
