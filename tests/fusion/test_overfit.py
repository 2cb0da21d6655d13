"""A model that cannot overfit four small tracks is broken: numeric gate of every fusion model."""

import numpy as np
import pytest
import torch

from avfusion.fusion import build_fusion
from avfusion.fusion.catalogue import fusion_names, takes_maps
from avfusion.scoring.ccc import ccc
from avfusion.training.losses import ccc_loss

TRACKS, LENGTH = 4, 16
SMALL = {"audio_dim": 8, "visual_dim": 8, "encoder_width": 16}  # too small to learn the clips by heart
OF_ANY_SIZE = [name for name in fusion_names() if not takes_maps(name)]
ALONE = {"audio_only": "audio", "visual_only": "visual"}


def planted(streams: tuple[str, ...], widths: dict[str, int], clips: int) -> dict[str, torch.Tensor]:
    """Four tracks of random features as sequences, and targets that are the mean of directions in `streams`.

    Each target is its own direction of each stream, so that no stream alone tells it where there are two.
    """
    generator = torch.Generator().manual_seed(11)
    sequences = TRACKS * clips // LENGTH
    features = {s: torch.randn(sequences, LENGTH, widths[s], generator=generator) for s in ("audio", "visual")}
    targets = torch.zeros(sequences, LENGTH, 2)
    for stream in streams:
        direction = torch.randn(widths[stream], 2, generator=generator)
        targets += features[stream] @ (direction / direction.norm(dim=0)) / len(streams)
    return features | {"targets": 0.4 * targets}


def overfit(
    name: str,
    streams: tuple[str, ...],
    lr: float = 1e-2,
    *,
    clips: int = 256,
    hidden: str = "",
    steps: int = 50,
    **options: object,
) -> list[float]:
    """CCC of valence and arousal on the training tracks themselves, `clips` long each; one stream may be `hidden`."""
    torch.manual_seed(0)
    model = build_fusion(name, length=LENGTH, dropout=0.0, **options)
    data = planted(streams, {"audio": model.audio_dim, "visual": model.visual_width}, clips)
    targets = data["targets"]
    everything = torch.ones(targets.shape[:2], dtype=torch.bool)
    present = [everything if stream != hidden else ~everything for stream in ("audio", "visual")]
    optimiser = torch.optim.Adam(model.parameters(), lr=lr)
    scores = [0.0, 0.0]
    for _ in range(steps):
        predictions = model(data["audio"], data["visual"], *present).predictions
        scores = [ccc(*(np.asarray(x[..., c].detach()) for x in (predictions, targets))) for c in range(2)]
        if min(scores) > 0.95:
            break
        optimiser.zero_grad()
        ccc_loss(predictions, targets, everything).backward()
        optimiser.step()
    return scores


@pytest.mark.parametrize("name", OF_ANY_SIZE)
def test_overfits_four_tracks(name: str) -> None:
    streams = (ALONE[name],) if name in ALONE else ("audio", "visual")
    scores = overfit(name, streams, **SMALL)
    assert min(scores) > 0.95, scores


@pytest.mark.parametrize("hidden", ["audio", "visual"])
@pytest.mark.parametrize("name", [name for name in OF_ANY_SIZE if name not in ALONE])
def test_does_not_without_one_of_the_streams(name: str, hidden: str) -> None:
    assert max(overfit(name, ("audio", "visual"), hidden=hidden, **SMALL)) < 0.95


@pytest.mark.parametrize("name", ALONE)
def test_one_stream_does_not_tell_what_stands_in_the_other(name: str) -> None:
    other = "visual" if name == "audio_only" else "audio"
    assert max(overfit(name, (other,), **SMALL)) < 0.7


def test_the_published_network_overfits_four_tracks() -> None:
    scores = overfit("released_coattention", ("audio", "visual"), 1e-3, clips=16)
    assert min(scores) > 0.95, scores
