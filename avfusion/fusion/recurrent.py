"""Recurrent layers that read a padded sequence as if the padding were not there."""

import torch
from torch import nn
from torch.nn import functional as F


class BidirectionalLayers(nn.Module):
    """Bidirectional LSTM or GRU over the valid clips of a sequence; padding stands at its ends.

    Both directions begin with their start state at their first valid clip, whatever pads the sequence. Recurrent layers
    with biases or start states would reach that clip with another state.
    """

    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU], dim: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList(kind(2 * hidden if layer else dim, hidden, batch_first=True) for _ in range(2))
            for layer in range(layers)
        )

    def forward(self, clips: torch.Tensor, valid: torch.Tensor, start: torch.Tensor | None = None) -> torch.Tensor:
        """(B, L, dim), valid (B, L) → (B, L, 2 hidden), zero where not valid.

        Args:
            start: an LSTM's start states (4 layers, hidden): h₀ of layer 1 forward, backward, layer 2 forward, …, then
                c₀ likewise. None: zero.
        """
        length = valid.shape[1]
        places = torch.arange(length, device=valid.device)
        first = valid.int().argmax(dim=1, keepdim=True)
        last = length - 1 - valid.flip(1).int().argmax(dim=1, keepdim=True)
        # By direction: which clip is read at each step, and at which step each clip is read.
        orders = [((places + first) % length, (places - first) % length), ((last - places) % length,) * 2]
        # CPUs have no recurrent layers in float16, so mixed precision excludes them there.
        with torch.autocast("cpu", enabled=False):
            for number, directions in enumerate(self.layers):
                outputs = []
                for way, (order, back) in enumerate(orders):
                    cell = directions[way]  # type: ignore[index]
                    at = 2 * number + way
                    read = _take(clips.to(cell.weight_hh_l0.dtype), order)
                    state = None if start is None else _states(start, at, len(self.layers), clips.shape[0])
                    outputs.append(_take(cell(read, state)[0], back))
                clips = torch.where(valid[..., None], torch.cat(outputs, dim=-1), 0)
        return clips


class RecurrentEncoder(nn.Module):
    """Bidirectional LSTM of two layers with learnt start states, its input beside its output, to rows of length 1:

    z = rownorm(Lin([x ; BiLSTM(x)]))
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.lstm = BidirectionalLayers(nn.LSTM, dim, width // 2, layers=2)
        self.start = nn.Parameter(torch.zeros(8, width // 2))
        self.linear = nn.Linear(dim + width // 2 * 2, width)

    def forward(self, clips: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """(B, L, dim), zero where not `valid` (B, L) → (B, L, width), likewise."""
        encoded = self.lstm(clips, valid, self.start)
        rows = self.linear(torch.cat([clips.to(encoded.dtype), encoded], dim=-1)).to(encoded.dtype)
        return torch.where(valid[..., None], F.normalize(rows, dim=-1), 0)


def _take(clips: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """The clips (B, L, dim) in an order (B, L)."""
    return clips.gather(1, order[..., None].expand(-1, -1, clips.shape[-1]))


def _states(start: torch.Tensor, at: int, layers: int, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    hidden, cell = (start[row].expand(1, batch, -1).contiguous() for row in (at, 2 * layers + at))
    return hidden, cell
