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
        batch, length = valid.shape
        places = torch.arange(length, device=valid.device)
        first, count = valid.int().argmax(dim=1, keepdim=True), valid.int().sum(dim=1, keepdim=True)
        # Each direction has its steps in its own order, the first valid clip first.
        ahead = _take(clips, (places + first) % length)
        back = _take(clips, (first + count - 1 - places) % length)
        # CPUs have no recurrent layers in float16, so mixed precision excludes them there.
        with torch.autocast("cpu", enabled=False):
            for number, layer in enumerate(self.layers):
                forwards, backwards = layer[0], layer[1]  # type: ignore[index]
                if number:
                    turned = (count - 1 - places) % length  # from one direction's steps to the other's
                    ahead, back = (
                        torch.cat([ahead, _take(back, turned)], dim=-1),
                        torch.cat([_take(ahead, turned), back], dim=-1),
                    )
                states = [_state(start, 2 * number + way, len(self.layers), batch) for way in range(2)]
                ahead = forwards(ahead.to(forwards.weight_hh_l0.dtype), states[0])[0]
                back = backwards(back.to(backwards.weight_hh_l0.dtype), states[1])[0]
        ahead, back = _take(ahead, (places - first) % length), _take(back, (first + count - 1 - places) % length)
        return torch.where(valid[..., None], torch.cat([ahead, back], dim=-1), 0)


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
    batch, length, _ = clips.shape
    # By whole rows: the gradient of `gather` adds number by number.
    rows = order + length * torch.arange(batch, device=order.device)[:, None]
    return clips.flatten(0, 1).index_select(0, rows.flatten()).unflatten(0, (batch, length))


def _state(start: torch.Tensor | None, at: int, layers: int, batch: int) -> tuple[torch.Tensor, torch.Tensor] | None:
    if start is None:
        return None
    hidden, cell = (start[row].expand(1, batch, -1).contiguous() for row in (at, 2 * layers + at))
    return hidden, cell
