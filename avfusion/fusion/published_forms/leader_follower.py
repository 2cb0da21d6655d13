"""Leader-follower networks of the ABAW challenge, as in their code: ABAW2 (arXiv 2107.01175) and ABAW3.

The first of M streams leads: only its temporal encoding reaches the output also unattended. Attention is across the
streams of a clip; clips interact in the temporal convolutional network (TCN) of each stream alone.
"""

import math
from collections.abc import Sequence

import torch
from torch import nn

from avfusion.fusion.base import FusionOutput
from avfusion.fusion.neutral import Attending
from avfusion.fusion.published_forms.filled_rows import FilledRows
from avfusion.fusion.temporal import TCN, MaskedBatchNorm

DROPOUT = 0.1


class FollowerAttention(Attending):
    """With a row per stream in Q, K, V (M × n): F = LayerNorm(softmax(K Qᵀ / √n) V + V), normed over both axes.

    Args:
        dims: widths of the streams' encodings.
        from_keys: queries and values of all streams but the leader are maps of their keys, not of their encodings.
    """

    def __init__(self, dims: Sequence[int], width: int, *, from_keys: bool) -> None:
        super().__init__()
        self.from_keys = from_keys
        read = [width if from_keys and stream else dim for stream, dim in enumerate(dims)]
        self.key = nn.ModuleList(nn.Linear(dim, width) for dim in dims)
        self.query = nn.ModuleList(nn.Linear(dim, width) for dim in read)
        self.value = nn.ModuleList(nn.Linear(dim, width) for dim in read)
        self.norm = nn.LayerNorm([len(dims), width])

    def forward(self, streams: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """M encodings (B, L, dim) → F (B, L, M, n), attention (B, L, M, M)."""
        keys = [layer(stream) for layer, stream in zip(self.key, streams, strict=True)]
        read = [streams[0], *keys[1:]] if self.from_keys else streams
        query = torch.stack([layer(stream) for layer, stream in zip(self.query, read, strict=True)], dim=-2)
        value = torch.stack([layer(stream) for layer, stream in zip(self.value, read, strict=True)], dim=-2)
        scores = torch.stack(keys, dim=-2) @ query.transpose(-1, -2)
        if self.neutral is not None:
            scores = torch.zeros_like(scores)
        attention = (scores / math.sqrt(query.shape[-1])).softmax(dim=-1)
        return self.norm(attention @ value + value), attention


class MultiHeadFollowerAttention(Attending):
    """In each head softmax(Q Kᵀ / √n') V + V over the streams, n' = n / heads; then Linear, dropout and LayerNorm.

    A stream's map to Q, K and V is cut by head first; values are joined by head first, stream second.
    """

    def __init__(self, dims: Sequence[int], width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.projections = nn.ModuleList(nn.Linear(dim, 3 * width) for dim in dims)
        self.output = nn.Linear(len(dims) * width, len(dims) * width)
        self.dropout = nn.Dropout(DROPOUT)
        self.norm = nn.LayerNorm(len(dims) * width)

    def forward(self, streams: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """M encodings (B, L, dim) → F (B, L, M n), attention (B, L, heads, M, M)."""
        projected = [layer(stream) for layer, stream in zip(self.projections, streams, strict=True)]
        by_head = torch.stack([rows.unflatten(-1, (self.heads, -1)) for rows in projected], dim=-2)
        query, key, value = by_head.chunk(3, dim=-1)  # each (B, L, heads, M, n')
        scores = query @ key.transpose(-1, -2)
        if self.neutral is not None:
            scores = torch.zeros_like(scores)
        attention = (scores / math.sqrt(query.shape[-1])).softmax(dim=-1)
        values = (attention @ value + value).flatten(2)
        return self.norm(self.dropout(self.output(values))), attention


class LeaderFollowerNetwork(nn.Module):
    """T_m = TCN_m(X_m), y = Linear([T_leader ; vec F]), F as above; ABAW3: BN behind each TCN, and y = tanh(…).

    Args:
        dims: widths of the streams' features, the leader's first.
        widths: of the blocks of each stream's TCN.
        form: `paper`, one head; `abaw2`, the same, with the followers' queries and values from their keys; `abaw3`.
        attention_width: n.
        heads: of `abaw3`.
    """

    def __init__(
        self,
        dims: Sequence[int],
        widths: Sequence[tuple[int, ...]],
        *,
        form: str,
        kernel: int,
        attention_width: int,
        heads: int = 1,
    ) -> None:
        super().__init__()
        self.filled = nn.ModuleList(FilledRows(dim) for dim in dims)
        self.temporal = nn.ModuleList(TCN(dim, w, kernel, DROPOUT) for dim, w in zip(dims, widths, strict=True))
        ends = [w[-1] for w in widths]
        self.norms = nn.ModuleList(MaskedBatchNorm(end) for end in ends) if form == "abaw3" else None
        self.attention = (
            MultiHeadFollowerAttention(ends, attention_width, heads)
            if form == "abaw3"
            else FollowerAttention(ends, attention_width, from_keys=form == "abaw2")
        )
        self.output = nn.Linear(ends[0] + len(dims) * attention_width, 2)

    def forward(
        self,
        audio: torch.Tensor,
        visual: torch.Tensor,
        audio_present: torch.Tensor,
        visual_present: torch.Tensor,
        valid: torch.Tensor,
    ) -> FusionOutput:
        """See `FusionModel.fuse`; the visual stream leads.

        `maps` holds the attention of streams to streams (B, L, 2, 2: visual, audio), with several heads one for each.
        """
        return self.fuse_streams([visual, audio], [visual_present, audio_present], valid)

    def fuse_streams(
        self, features: Sequence[torch.Tensor], present: Sequence[torch.Tensor], valid: torch.Tensor
    ) -> FusionOutput:
        """Fuse M streams of features (B, L, dim), the leader first; `present` and `valid` are (B, L)."""
        rows = [fill(x, here, valid) for fill, x, here in zip(self.filled, features, present, strict=True)]
        encoded = [tcn(x, valid) for tcn, x in zip(self.temporal, rows, strict=True)]
        if self.norms is not None:
            encoded = [norm(x, valid) for norm, x in zip(self.norms, encoded, strict=True)]
        attended, attention = self.attention(encoded)
        predictions = self.output(torch.cat([encoded[0], attended.flatten(2)], dim=-1))
        if self.norms is None:
            maps = {"attention": attention}
        else:
            predictions = torch.tanh(predictions)
            maps = {f"attention_{head}": of for head, of in enumerate(attention.unbind(dim=2), start=1)}
        return FusionOutput(predictions, maps=maps)
