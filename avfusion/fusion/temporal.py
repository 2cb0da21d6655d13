"""Layers over the clips of a sequence: causal convolutions, recurrent layers, batch normalisation that skips padding.

The front end and the head are those of the ABAW challenge's networks (in code: LFAN, github.com/sucv/ABAW3, and GRJCA,
arXiv 2503.12261); the convolutional network is that of arXiv 1803.01271.
"""

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F


class CausalConv(nn.Module):
    """Weight-normalised convolution over time; a clip sees itself and `kernel` - 1 earlier clips, `dilation` apart."""

    def __init__(self, dim: int, width: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.direction = nn.Parameter(nn.init.xavier_uniform_(torch.empty(width, dim, kernel), gain=2**0.5))
        self.gain = nn.Parameter(self.direction.detach().flatten(1).norm(dim=1)[:, None, None])
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """(B, dim, L) → (B, width, L)."""
        weight = self.gain * F.normalize(self.direction.flatten(1), dim=1).view_as(self.direction)
        reach = (weight.shape[-1] - 1) * self.dilation
        return F.conv1d(F.pad(rows, (reach, 0)), weight, self.bias, dilation=self.dilation)


class TCNBlock(nn.Module):
    """Two causal convolutions around which the input is added: LeakyReLU(u + x), u = f(f(x)).

    f is convolution, LeakyReLU, dropout. Where the widths differ, x passes a 1×1 convolution.
    """

    def __init__(self, dim: int, width: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.first = CausalConv(dim, width, kernel, dilation)
        self.second = CausalConv(width, width, kernel, dilation)
        self.residual = nn.Identity() if dim == width else nn.Conv1d(dim, width, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, rows: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """(B, dim, L) → (B, width, L); `valid` (B, 1, L), 1 or 0."""
        # A bias makes a signal of padding, which the next convolution would read.
        hidden = self.dropout(F.leaky_relu(self.first(rows))) * valid
        hidden = self.dropout(F.leaky_relu(self.second(hidden)))
        return F.leaky_relu(hidden + self.residual(rows)) * valid


class TCN(nn.Module):
    """Temporal convolutional network; block i has dilation 2^i (arXiv 1803.01271).

    A clip sees itself and 2 (kernel - 1) (2^blocks - 1) earlier clips. Padding, at either end, has no effect.

    Args:
        dim: width of the input.
        widths: width of each block.
    """

    def __init__(self, dim: int, widths: tuple[int, ...], kernel: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            TCNBlock(before, after, kernel, 2**i, dropout) for i, (before, after) in enumerate(pairwise((dim, *widths)))
        )

    def forward(self, clips: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """(B, L, dim) → (B, L, widths[-1]); zero at clips that are not `valid` (B, L), in and out."""
        rows = clips.transpose(1, 2)
        for block in self.blocks:
            rows = block(rows, valid[:, None].to(rows.dtype))
        return rows.transpose(1, 2)


class BiLSTM(nn.Module):
    """Bidirectional LSTM over clips, (B, L, dim) → (B, L, width), unaffected by padding.

    Padding is zero and at the ends of a sequence; without biases a zero input keeps a zero state, so both directions
    reach their first real clip with a zero state.
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(dim, width // 2, batch_first=True, bidirectional=True, bias=False)

    def forward(self, clips: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Zero at clips that are not `valid` (B, L), in and out."""
        encoded, _ = self.lstm(clips)
        return torch.where(valid[..., None], encoded, 0)


class MaskedBatchNorm(nn.Module):
    """Batch normalisation of features (B, L, width) by the statistics of the valid clips alone."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width)

    def forward(self, clips: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Zero at clips that are not `valid` (B, L); in training at least two must be."""
        clips = clips.to(self.norm.weight.dtype)  # statistics in half precision would be coarse
        if self.training:
            if bool(valid.all()):
                return self.norm(clips.flatten(0, 1)).view_as(clips)
            return torch.zeros_like(clips).masked_scatter(valid[..., None], self.norm(clips[valid]))
        return torch.where(valid[..., None], self.norm(clips.transpose(1, 2)).transpose(1, 2), 0)


class TemporalEncoder(nn.Module):
    """Front end of a stream in the ABAW challenge's networks: BN(TCN(X)), (B, L, dim) → (B, L, widths[-1])."""

    def __init__(self, dim: int, widths: tuple[int, ...], kernel: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.tcn = TCN(dim, widths, kernel, dropout)
        self.norm = MaskedBatchNorm(widths[-1])

    def forward(self, clips: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Zero at clips that are not `valid` (B, L), in and out."""
        return self.norm(self.tcn(clips, valid), valid)


class BatchNormHead(nn.Module):
    """Head of the ABAW challenge's networks: tanh(Linear(LeakyReLU(BN(Linear(c))))), (B, L, dim) → (B, L, 2)."""

    def __init__(self, dim: int, hidden: int = 256) -> None:
        super().__init__()
        self.hidden = nn.Linear(dim, hidden)
        self.norm = MaskedBatchNorm(hidden)
        self.output = nn.Linear(hidden, 2)

    def forward(self, clips: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """(B, L, dim) → (B, L, 2): valence, arousal, in (-1, 1); `valid` (B, L)."""
        return torch.tanh(self.output(F.leaky_relu(self.norm(self.hidden(clips), valid))))
