"""What stands in the place of a stream's absent clips in networks that encode no clip by itself."""

import torch
from torch import nn


class FilledRows(nn.Module):
    """Features as they are; absent clips become the stream's learnt token, padded clips zero."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.missing = nn.Parameter(torch.zeros(dim))

    def forward(self, features: torch.Tensor, present: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """(B, L, dim) → (B, L, dim); `present` implies `valid`."""
        return torch.where(present[..., None], features, self.missing.to(features.dtype) * valid[..., None])
