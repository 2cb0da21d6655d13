"""Dense co-attention: each stream attends, feature by feature, to both (code with arXiv 2209.09068, 2503.12261)."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from avfusion.fusion.neutral import Attending


class StreamCoAttention(Attending):
    """One stream's part of `DenseCoAttention`."""

    def __init__(self, width: int, joint_width: int, length: int, dropout: float) -> None:
        super().__init__()
        self.key = nn.Linear(length, length)  # over time, with a bias per clip
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(joint_width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, stream: torch.Tensor, query: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Attend (B, L, d_m) to the query (B, L, d) → (B, L, d_m), S (B, d_m, d)."""
        keys = self.key(stream.transpose(1, 2))  # (B, d_m, L)
        # Scaling the keys, of few numbers, saves a pass over the (B, d_m, d) similarity.
        similarity = self.dropout(torch.tanh(keys / math.sqrt(query.shape[-1]) @ query))
        if self.neutral is not None:
            similarity = torch.zeros_like(similarity)
        weighted = F.relu(torch.tanh(self.value(stream) @ similarity))  # (B, L, d)
        return stream + self.dropout(F.relu(self.output(weighted))), similarity


class DenseCoAttention(nn.Module):
    """Each stream attends to both. With the streams X_m (L × d_m), d = d_v + d_a:

    J = [X_v ; X_a] W_q,   S_m = tanh(K_m(X_mᵀ) J / √d),   X_m + ReLU(W_o ReLU(tanh(V_m(X_m) S_m)))

    All maps have a bias. S_m (d_m × d) relates features over the L clips, without a softmax.
    """

    def __init__(self, visual_width: int, audio_width: int, length: int, dropout: float) -> None:
        super().__init__()
        width = visual_width + audio_width
        self.query = nn.Linear(width, width)
        self.visual = StreamCoAttention(visual_width, width, length, dropout)
        self.audio = StreamCoAttention(audio_width, width, length, dropout)

    def forward(
        self, visual: torch.Tensor, audio: torch.Tensor, valid: torch.Tensor | None = None
    ) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
        """Visual and audio (B, L, d_m), each as (attended, S).

        Args:
            valid: (B, L) bool; clips that are not valid are zero, in and out. None: no clip is masked.
        """
        query = self.query(torch.cat([visual, audio], dim=-1))
        if valid is None:
            return self.visual(visual, query), self.audio(audio, query)
        # The keys' bias reaches padded clips, but meets a zero query there.
        query = torch.where(valid[..., None], query, 0)
        (attended_v, map_v), (attended_a, map_a) = self.visual(visual, query), self.audio(audio, query)
        attended_v, attended_a = (torch.where(valid[..., None], x, 0) for x in (attended_v, attended_a))
        return (attended_v, map_v), (attended_a, map_a)
