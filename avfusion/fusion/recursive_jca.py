"""Recursive joint cross-attention between two recurrent layers (arXiv 2304.07958)."""

from typing import ClassVar, Literal

import torch
from torch import nn

from avfusion.fusion.base import FusionOutput, RegressionHeads, TwoStreamModel
from avfusion.fusion.jca import CrossAttention
from avfusion.fusion.published_forms.recurrent_coattention import RecurrentCoAttention
from avfusion.fusion.registry import register_fusion
from avfusion.fusion.temporal import BiLSTM
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.settings import Count, Share


@register_fusion("recursive_jca")
class RecursiveJointCrossAttention(TwoStreamModel):
    """Joint cross-attention whose attended streams are attended again, T times:

        X_m⁰ = BiLSTM(X_m),   Jᵗ = [X_aᵗ ; X_vᵗ],   X_mᵗ⁺¹ = attention of X_mᵗ to Jᵗ (see `jca`)

    and a BiLSTM over [X_vᵀ ; X_aᵀ] before the heads.

    Args:
        encoder_width: width of each stream's encoder and BiLSTM, even.
        k: rows of the attention weights.
        iterations: number T of iterations.
        shared: all iterations use the same attention weights.
        faithful: the network of the authors' code (see `RecurrentCoAttention`), whose T is 1; `k`, `shared` and
            `head` are not part of it.
        attention: false trains a control: C (S where `faithful`) is 0, in training and after. Without `faithful` the
            control is `temporal_concat` with `bilstm`, which lacks the weights of attention, too.
    """

    neutral_form = "C = 0"
    control_model: ClassVar = {"model": "temporal_concat", "temporal": "bilstm"}
    faithful_head = "relu"

    def __init__(
        self,
        *,
        audio_dim: int = 512,
        visual_dim: int = 512,
        length: int = 16,
        encoder_width: Count = 128,
        k: Count = 32,
        iterations: Count = 2,
        shared: bool = True,
        dropout: Share = 0.6,
        head_hidden: Count = 128,
        head: Literal["linear", "relu"] = "linear",
        faithful: bool = False,
        attention: bool = True,
    ) -> None:
        if encoder_width % 2:
            raise BadInputError(f"{self.name}: encoder_width is {encoder_width}: must be an even number")
        if faithful:
            network = RecurrentCoAttention(
                audio_dim,
                visual_dim,
                length,
                widths=(encoder_width,) * 3,
                steps=iterations,
                dropout=dropout,
                head_hidden=head_hidden,
            )
            super().__init__(audio_dim, visual_dim, length, encoder_width, network)
            if not attention:
                self.train_without_attention()
            return
        super().__init__(audio_dim, visual_dim, length, encoder_width)
        self.iterations = iterations
        self.audio_lstm = BiLSTM(encoder_width, encoder_width)
        self.visual_lstm = BiLSTM(encoder_width, encoder_width)
        own = 1 if shared else iterations
        self.audio_attention = nn.ModuleList(CrossAttention(encoder_width, length, k) for _ in range(own))
        self.visual_attention = nn.ModuleList(CrossAttention(encoder_width, length, k) for _ in range(own))
        self.joint_lstm = BiLSTM(2 * encoder_width, 2 * encoder_width)
        self.heads = RegressionHeads(2 * encoder_width, head_hidden, dropout, relu=head == "relu")
        if not attention:
            self.train_without_attention()

    def fuse_encoded(self, x_a: torch.Tensor, x_v: torch.Tensor, valid: torch.Tensor) -> FusionOutput:
        """See `TwoStreamModel.fuse_encoded`; `maps` holds C of both streams in each iteration, (B, d_m, d)."""
        x_a, x_v = self.audio_lstm(x_a, valid), self.visual_lstm(x_v, valid)
        maps = {}
        for t in range(self.iterations):
            joint, own = torch.cat([x_a, x_v], dim=-1), t % len(self.audio_attention)
            attended_a, maps[f"audio_correlation_{t + 1}"] = self.audio_attention[own](x_a, joint)
            attended_v, maps[f"visual_correlation_{t + 1}"] = self.visual_attention[own](x_v, joint)
            # Attention writes into padded clips, which the next iteration would read.
            x_a, x_v = (torch.where(valid[..., None], attended, 0) for attended in (attended_a, attended_v))
        fused = self.joint_lstm(torch.cat([x_v, x_a], dim=-1), valid)
        return FusionOutput(self.heads(fused), x_a, x_v, maps)
