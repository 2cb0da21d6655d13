"""Recurrent layers on padded sequences, against the same layers on what is not padded."""

import pytest
import torch
from torch import nn

from avfusion.fusion.recurrent import BidirectionalLayers, RecurrentEncoder


@pytest.fixture
def encoder() -> RecurrentEncoder:
    torch.manual_seed(1)
    made = RecurrentEncoder(5, 6)
    nn.init.normal_(made.start)
    return made


@torch.no_grad()
@pytest.mark.parametrize(("front", "behind"), [(0, 0), (0, 4), (4, 0), (2, 3), (7, 0)])
def test_padding_at_either_end_is_as_if_it_were_not_there(encoder: RecurrentEncoder, front: int, behind: int) -> None:
    clips = torch.randn(3, 8, 5)
    valid = torch.zeros(3, 8, dtype=torch.bool)
    valid[:, front : 8 - behind] = True
    found = encoder(clips * valid[..., None], valid)
    alone = clips[:, front : 8 - behind]
    expected = encoder(alone, torch.ones(alone.shape[:2], dtype=torch.bool))
    torch.testing.assert_close(found[:, front : 8 - behind], expected)
    assert not found[~valid].any()


@torch.no_grad()
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_without_padding_it_is_torchs_own(kind: type[nn.LSTM] | type[nn.GRU]) -> None:
    torch.manual_seed(2)
    ours, theirs = BidirectionalLayers(kind, 4, 3, 2), kind(4, 3, 2, batch_first=True, bidirectional=True)
    for layer in range(2):
        for direction, way in enumerate(("", "_reverse")):
            for leaf in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                own = getattr(ours.layers[layer][direction], f"{leaf}_l0")
                own.copy_(getattr(theirs, f"{leaf}_l{layer}{way}"))
    clips = torch.randn(2, 7, 4)
    found = ours(clips, torch.ones(2, 7, dtype=torch.bool))
    torch.testing.assert_close(found, theirs(clips)[0])
