"""Leader-follower attention: the face leads, the voice follows (LFAN, arXiv 2107.01175)."""

import math
from typing import ClassVar, Literal

import torch
from torch import nn

from avfusion.fusion.base import FusionOutput, RegressionHeads, TwoStreamModel
from avfusion.fusion.published_forms.leader_follower import LeaderFollowerNetwork
from avfusion.fusion.registry import register_fusion
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.settings import Count, Share


@register_fusion("leader_follower")
class LeaderFollower(TwoStreamModel):
    """Attention across the two streams of each clip; clips do not interact.

    Q, K, V (2 × n) hold a row per stream, each from its own linear map:

        F = LayerNorm(softmax(K Qᵀ / √n) V + V),   y = Linear([x_v ; vec F])

    The visual stream leads: only it reaches the output also unattended.

    Args:
        attention_width: width n of queries, keys and values.
        head: `direct`: the Linear above; `linear`, `relu`: see `RegressionHeads`, with `head_hidden` in between, of the
            form `house` alone.
        form: `house`, the above; or a network of the authors' code, see `LeaderFollowerNetwork`: `paper`, one head with
            a TCN in front of each stream; `abaw2` and `abaw3`, their entries to these challenges. The leader's TCN is
            `encoder_width` wide, the follower's `attention_width`.
        kernel, blocks: of the TCNs.
        heads: of `abaw3`, a divisor of `attention_width`.
        dropout: before the output of the form `house`; the other forms have a fixed one in TCN and attention.
        attention: false trains the control: weights are uniform, in training and after.
    """

    neutral_form = "uniform weights"
    frame_level: ClassVar = {"form": ("paper", "abaw2", "abaw3")}

    def __init__(
        self,
        *,
        audio_dim: int = 512,
        visual_dim: int = 512,
        length: int = 16,
        encoder_width: Count = 128,
        attention_width: Count = 32,
        dropout: Share = 0.6,
        head_hidden: Count = 128,
        head: Literal["direct", "linear", "relu"] = "direct",
        form: Literal["house", "paper", "abaw2", "abaw3"] = "house",
        kernel: Count = 3,
        blocks: Count = 2,
        heads: Count = 2,
        attention: bool = True,
    ) -> None:
        if form != "house" and head != "direct":
            raise BadInputError(f"{self.name}: head is {head}: must be direct unless form is house")
        if form == "abaw3" and attention_width % heads:
            allowed = f"must be a divisor of attention_width ({attention_width})"
            raise BadInputError(f"{self.name}: heads is {heads}: {allowed}")
        if form != "house":
            network = LeaderFollowerNetwork(
                (visual_dim, audio_dim),
                ((encoder_width,) * blocks, (attention_width,) * blocks),
                form=form,
                kernel=kernel,
                attention_width=attention_width,
                heads=heads,
            )
            super().__init__(audio_dim, visual_dim, length, encoder_width, network)
            if not attention:
                self.train_without_attention()
            return
        super().__init__(audio_dim, visual_dim, length, encoder_width)
        self.audio_projections = nn.Linear(encoder_width, 3 * attention_width)  # query, key, value
        self.visual_projections = nn.Linear(encoder_width, 3 * attention_width)
        self.norm = nn.LayerNorm(attention_width)
        fused = encoder_width + 2 * attention_width
        self.dropout = nn.Dropout(dropout if head == "direct" else 0)
        self.output = (
            nn.Linear(fused, 2)
            if head == "direct"
            else RegressionHeads(fused, head_hidden, dropout, relu=head == "relu")
        )
        if not attention:
            self.train_without_attention()

    def fuse_encoded(self, x_a: torch.Tensor, x_v: torch.Tensor, valid: torch.Tensor) -> FusionOutput:
        """See `TwoStreamModel.fuse_encoded`; `maps` holds softmax(K Qᵀ / √n), (B, L, 2, 2): visual, audio."""
        projected = torch.stack([self.visual_projections(x_v), self.audio_projections(x_a)], dim=-2)
        query, key, value = projected.chunk(3, dim=-1)  # each (B, L, 2, n)
        scores = key @ query.transpose(-1, -2) / math.sqrt(query.shape[-1])
        attention = (scores if self.neutral is None else torch.zeros_like(scores)).softmax(dim=-1)
        attended = self.norm(attention @ value + value)
        predictions = self.output(self.dropout(torch.cat([x_v, attended.flatten(-2)], dim=-1)))
        return FusionOutput(predictions, attended[..., 1, :], attended[..., 0, :], {"attention": attention})
