"""Initial weights of a fusion model."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Start:
    """Weights of a fusion model, including its standardisation.

    Attributes:
        facts: for the record: `weights` (the folder), `sha256` of its weights file, and `source` and `licence` if the
            model's config has them.
    """

    tensors: dict[str, Tensor]
    facts: dict[str, Any]
