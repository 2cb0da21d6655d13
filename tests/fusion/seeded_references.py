"""What the authors' own code gave for seeded weights: names and sizes, weights drawn anew, inputs and results."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from avfusion.runtime.named_tensors import check_fit

DATA = Path(__file__).parents[1] / "data" / "fusion"


def seeded_state(name: str, seed: int = 0) -> dict[str, Tensor]:
    """Weights by the authors' names: tensor i in sorted order of names is drawn with seed 1000 seed + i."""
    facts = json.loads((DATA / f"{name}_keys.json").read_text())
    return {key: _drawn(key, fact, 1000 * seed + i) for i, (key, fact) in enumerate(sorted(facts.items()))}


def seeded_normal(shape: tuple[int, ...], seed: int) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def reference(name: str, seed: int = 0) -> dict[str, Tensor]:
    """Inputs (`in.`), intermediates (`mid.`) and outputs (`out.`) of the authors' code."""
    return load_file(DATA / f"{name}_seed{seed}.safetensors")


def fill(module: nn.Module, names: Mapping[str, str], state: Mapping[str, Tensor], leave: tuple[str, ...] = ()) -> None:
    """Load the authors' tensors into a module.

    Args:
        names: ours by theirs, of tensors or of modules.
        leave: beginnings of our names that have no counterpart.

    Raises:
        BadInputError: tensors of the authors are missing, unexpected or of another shape; they are named.
    """
    theirs = {}
    for key in module.state_dict():
        found = [(published, own) for published, own in names.items() if key == own or key.startswith(f"{own}.")]
        if found:
            published, own = max(found, key=lambda pair: len(pair[1]))
            theirs[published + key.removeprefix(own)] = key
        else:
            assert key.startswith(leave), key
    tensors = module.state_dict()
    check_fit({published: tensors[key] for published, key in theirs.items()}, state, "of the authors")
    module.load_state_dict({key: state[published] for published, key in theirs.items()}, strict=False)


def _drawn(key: str, fact: Mapping[str, object], seed: int) -> Tensor:
    if "values" in fact:
        return torch.tensor(fact["values"])
    shape: list[int] = fact["shape"]  # type: ignore[assignment]
    if key.endswith("num_batches_tracked"):
        return torch.zeros((), dtype=torch.long)
    numbers = seeded_normal(tuple(shape), seed)
    norm = len(shape) == 1 or key.startswith("ln.")
    if key.endswith("running_var"):
        drawn = 1 + 0.5 * numbers.abs()
    elif key.endswith("weight_g"):
        drawn = 1 + 0.5 * numbers
    elif norm:
        drawn = 1 + 0.1 * numbers if key.endswith("weight") else 0.02 * numbers
    else:
        drawn = numbers / math.sqrt(math.prod(shape[1:]))
    if fact.get("common_row"):  # else a mean over outputs would be near zero
        drawn = drawn + 2 * drawn[:1]
    return drawn * fact.get("gain", 1)  # type: ignore[operator]
