"""Self-attention over the clips of both streams, the transformer baseline (arXiv 1706.03762) of arXiv 2209.09068."""

import math
from typing import Literal

import torch
from torch import nn

from avfusion.fusion.base import FusionOutput, RegressionHeads, TwoStreamModel, masked_softmax
from avfusion.fusion.neutral import Attending
from avfusion.fusion.registry import register_fusion
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.settings import Count, Share


class TransformerLayer(Attending):
    """x + MultiHead(LayerNorm(x)), then x + MLP(LayerNorm(x)); pre-norm, which trains without a warm-up.

    Args:
        dropout: of attention, of the MLP's hidden layer and of what is added to x.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.projections = nn.Linear(width, 3 * width)  # query, key, value
        self.output = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: torch.Tensor, valid: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens (B, N, width), valid (B, N) → tokens, and the attention (B, heads, N, N) from each token to all."""
        projected = self.projections(self.attention_norm(tokens)).unflatten(-1, (3, self.heads, -1))
        query, key, value = projected.permute(2, 0, 3, 1, 4)  # each (B, heads, N, width / heads)
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        if self.neutral is not None:
            scores = torch.zeros_like(scores)
        attention = masked_softmax(scores, valid[:, None, None])
        mixed = self.dropout(attention) @ value
        tokens = tokens + self.dropout(self.output(mixed.transpose(1, 2).flatten(2)))
        widen, activate, narrow = self.mlp
        hidden = self.dropout(activate(widen(self.mlp_norm(tokens))))
        return tokens + self.dropout(narrow(hidden)), attention


@register_fusion("self_attention")
class SelfAttention(TwoStreamModel):
    """Transformer encoder over the 2 L tokens of a sequence: audio clips, then visual clips.

    A token is its encoding plus learnt vectors for its position in the sequence and for its stream; a clip is predicted
    from both of its tokens. No token attends to padded clips.

    Args:
        encoder_width: width of each stream's encoder and of the tokens.
        heads: attention heads in a layer, a divisor of `encoder_width`.
        attention: false trains the control: weights are uniform, in training and after.
    """

    neutral_form = "uniform weights"

    def __init__(
        self,
        *,
        audio_dim: int = 512,
        visual_dim: int = 512,
        length: int = 16,
        encoder_width: Count = 128,
        layers: Count = 2,
        heads: Count = 4,
        dropout: Share = 0.6,
        head_hidden: Count = 128,
        head: Literal["linear", "relu"] = "relu",
        attention: bool = True,
    ) -> None:
        if encoder_width % heads:
            raise BadInputError(f"{self.name}: heads is {heads}: must be a divisor of encoder_width ({encoder_width})")
        super().__init__(audio_dim, visual_dim, length, encoder_width)
        self.place = nn.Parameter(0.02 * torch.randn(length, encoder_width))
        self.stream = nn.Parameter(0.02 * torch.randn(2, 1, encoder_width))
        self.layers = nn.ModuleList(TransformerLayer(encoder_width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(encoder_width)
        self.heads = RegressionHeads(2 * encoder_width, head_hidden, dropout, relu=head == "relu")
        if not attention:
            self.train_without_attention()

    def fuse_encoded(self, x_a: torch.Tensor, x_v: torch.Tensor, valid: torch.Tensor) -> FusionOutput:
        """See `TwoStreamModel.fuse_encoded`; `maps` holds each layer's attention, (B, heads, 2 L, 2 L)."""
        audio_tag, visual_tag = self.stream
        tokens = torch.cat([x_a + self.place + audio_tag, x_v + self.place + visual_tag], dim=1)
        maps = {}
        for number, layer in enumerate(self.layers, start=1):
            tokens, maps[f"attention_{number}"] = layer(tokens, torch.cat([valid, valid], dim=1))
        attended_a, attended_v = self.norm(tokens).chunk(2, dim=1)
        return FusionOutput(self.heads(torch.cat([attended_v, attended_a], dim=-1)), attended_a, attended_v, maps)
