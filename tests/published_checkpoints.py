"""Stand-ins for published checkpoints: the published names, shapes and containers, filled with reproducible numbers."""

import json
import math
from pathlib import Path

import numpy as np
import torch

DATA = Path(__file__).parent / "data"
# Enlarged, or every attention would be flat and a wrong one would go unnoticed.
JOINTCAM_GAINS = {
    "affine_audio.weight": 12,
    "affine_video.weight": 12,
    "affine_v.weight": 12,
    "affine_g.weight": 12,
    "affine_h.weight": 400,
    "query_linear.weight": 8,
    "key1_linear.weight": 8,
    "key2_linear.weight": 8,
    "value1_linear.weight": 12,
    "value2_linear.weight": 12,
}


def seeded_state_dict(kind: str) -> dict[str, torch.Tensor]:
    """Tensors of `paper_jca`, `jointcam` or `tsav`: tensor i in sorted order of names is drawn with seed i."""
    shapes = json.loads((DATA / f"{kind}_keys.json").read_text())
    gains = JOINTCAM_GAINS if kind == "jointcam" else {}
    state = {}
    for i, (key, shape) in enumerate(sorted(shapes.items())):
        gain = next((gain for end, gain in gains.items() if key.endswith(end)), 1)
        state[key] = gain * _seeded(key, shape, torch.Generator().manual_seed(i))
    return state


def _seeded(key: str, shape: list[int], generator: torch.Generator) -> torch.Tensor:
    if key.endswith("num_batches_tracked"):
        return torch.zeros((), dtype=torch.long)
    numbers = torch.randn(shape, generator=generator)
    if len(shape) > 1:
        return numbers / math.sqrt(math.prod(shape[1:]))
    if key.endswith("running_var"):
        return 1 + 0.5 * numbers.abs()
    return 1 + 0.1 * numbers if key.endswith("weight") else 0.02 * numbers


def write_jointcam(path: Path, state: dict[str, torch.Tensor], legacy: bool = False) -> Path:
    """With numpy scalars beside the tensors, as published."""
    scores = {"best_Val_accV": np.float64(0.7), "best_Val_accA": np.float64(0.6), "best_Val_acc_epoch": 5}
    torch.save({"net": state, **scores}, path, _use_new_zipfile_serialization=not legacy)
    return path


def write_tsav(path: Path, state: dict[str, torch.Tensor]) -> Path:
    """In PyTorch's legacy container, as published."""
    torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=False)
    return path
