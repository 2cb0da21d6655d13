"""Weights that the training of a fusion model starts from."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Start:
    """Weights of a fusion model, its standardisation included.

    Attributes:
        tensors: by the names of the model's state.
        facts: for the record: `weights` (the folder), `sha256` of its weights file, `source` and `licence` where the
            model's config tells them.
    """

    tensors: dict[str, Tensor]
    facts: dict[str, Any]
