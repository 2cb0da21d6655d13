"""The overfit gate: a fusion model that cannot fit four small tracks is broken."""

import numpy as np
import torch

from avfusion.fusion.catalogue import fixed_sizes, fusion_options
from avfusion.fusion.registry import build_fusion
from avfusion.scoring.ccc import ccc
from avfusion.training.losses import ccc_loss

TRACKS, LENGTH = 4, 16
BOUND = 0.95  # CCC of both targets
STEPS = 100
WIDTH = 8
"""Of features: few, so that a model has to find the direction that was planted, and cannot learn the clips by heart."""


def planted(streams: tuple[str, ...], widths: dict[str, int], clips: int, length: int) -> dict[str, torch.Tensor]:
    """Four tracks of random features as sequences, and targets that are the mean of directions in `streams`.

    Each target is its own direction of each stream, so that no stream alone tells it where there are two.
    """
    generator = torch.Generator().manual_seed(11)
    sequences = TRACKS * clips // length
    features = {s: torch.randn(sequences, length, widths[s], generator=generator) for s in ("audio", "visual")}
    targets = torch.zeros(sequences, length, 2)
    for stream in streams:
        direction = torch.randn(widths[stream], 2, generator=generator)
        targets += features[stream] @ (direction / direction.norm(dim=0)) / len(streams)
    return features | {"targets": 0.4 * targets}


def overfit(
    name: str, *, streams: tuple[str, ...] | None = None, hidden: str = "", steps: int = STEPS // 2, **options: object
) -> list[float]:
    """CCC of valence and arousal on the training tracks themselves.

    Args:
        streams: of which the targets are made; default: those that the model looks at.
        hidden: a stream that is absent throughout.
        steps: of the optimiser, at most.
        options: of the model; default: no dropout and, where it has `encoder_width`, 16.
    """
    sizes = {size: value for size, value in fixed_sizes(name).items() if size != "map_side"}
    known = fusion_options(name)
    none = {option: 0.0 for option in known if option.endswith("dropout")}
    small = none | ({"encoder_width": 2 * WIDTH} if "encoder_width" in known else {})
    torch.manual_seed(0)
    model = build_fusion(
        name,
        **({"audio_dim": WIDTH, "visual_dim": WIDTH, "length": LENGTH} | sizes | small | options),  # type: ignore[arg-type]
    )
    widths = {"audio": model.audio_dim, "visual": model.visual_width}
    data = planted(streams or model.streams, widths, 16 if sizes else 256, model.length)
    targets = data["targets"]
    everything = torch.ones(targets.shape[:2], dtype=torch.bool)
    present = [everything if stream != hidden else ~everything for stream in ("audio", "visual")]
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3 if sizes else 1e-2)
    scores = [0.0, 0.0]
    for _ in range(steps):
        predictions = model(data["audio"], data["visual"], *present).predictions
        found = (ccc(*(np.asarray(x[..., c].detach()) for x in (predictions, targets))) for c in range(2))
        scores = [score or 0.0 for score in found]
        if min(scores) > BOUND:
            break
        optimiser.zero_grad()
        ccc_loss(predictions, targets, everything).backward()
        optimiser.step()
    return scores


def overfit_fault(name: str) -> str | None:
    """What is wrong with how a fusion model learns; None: nothing."""
    scores = overfit(name, steps=STEPS)
    if min(scores) > BOUND:
        return None
    found = " and ".join(f"{score:.3f}" for score in scores)
    return f"CCC on four small tracks is {found} after {STEPS} steps (valence, arousal): must exceed {BOUND}"
