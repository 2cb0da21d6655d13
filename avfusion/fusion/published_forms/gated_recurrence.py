"""The network of M³T's code: gates from squashed scores, recurrent layers behind them (arXiv 2002.02957)."""

import torch
from torch import nn

from avfusion.fusion.base import FusionOutput, StreamEncoder
from avfusion.fusion.neutral import Attending
from avfusion.fusion.published_forms.filled_rows import FilledRows
from avfusion.fusion.recurrent import BidirectionalLayers


class SquashedScorer(nn.Module):
    """Score of each clip of a stream, h = sigmoid(Lin(BiGRU(X))), (B, L, width) → (B, L, 1)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gru = BidirectionalLayers(nn.GRU, width, hidden, layers=1)
        self.linear = nn.Linear(2 * hidden, 1)

    def forward(self, stream: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """`valid` (B, L)."""
        return torch.sigmoid(self.linear(self.gru(stream, valid)))


class GatedRecurrence(Attending):
    """g = softmax(h_v, h_a), f = g_v X_v + g_a X_a, y = Lin(ReLU(Lin(BiGRU(f)))) with a BiGRU of two layers.

    The sigmoid keeps gates between .27 and .73.

    Args:
        width: of both streams. X_v = Lin(x_v); so is X_a, unless the audio features have this width already: the
            authors' audio network has it.
        gate_hidden: width of the scorers' GRU, in each direction.
        hidden: width of the GRU behind the gate, in each direction, and of the output's hidden layer.
    """

    def __init__(self, audio_dim: int, visual_dim: int, *, width: int, gate_hidden: int, hidden: int) -> None:
        super().__init__()
        self.audio_encoder = FilledRows(width) if audio_dim == width else StreamEncoder(audio_dim, width)
        self.visual_encoder = StreamEncoder(visual_dim, width)
        self.audio_scorer = SquashedScorer(width, gate_hidden)
        self.visual_scorer = SquashedScorer(width, gate_hidden)
        self.gru = BidirectionalLayers(nn.GRU, width, hidden, layers=2)
        self.output = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.ReLU(), nn.Linear(hidden, 2))

    def forward(
        self,
        audio: torch.Tensor,
        visual: torch.Tensor,
        audio_present: torch.Tensor,
        visual_present: torch.Tensor,
        valid: torch.Tensor,
    ) -> FusionOutput:
        """See `FusionModel.fuse`; `maps` holds the gates, (B, L, 2: audio, visual)."""
        x_a = self.audio_encoder(audio, audio_present, valid)
        x_v = self.visual_encoder(visual, visual_present, valid)
        squashed = torch.cat([self.audio_scorer(x_a, valid), self.visual_scorer(x_v, valid)], dim=-1)
        gates = self.hold("gates", squashed.softmax(dim=-1))
        audio_gate, visual_gate = gates.split(1, dim=-1)
        gated_a, gated_v = audio_gate * x_a, visual_gate * x_v
        fused = self.gru(gated_a + gated_v, valid)
        return FusionOutput(self.output(fused), gated_a, gated_v, {"gates": gates})
