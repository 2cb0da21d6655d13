"""The loss of fusion training: one minus CCC, summed over valence and arousal."""

import torch

from avfusion.scoring.ccc import ccc


def ccc_loss(predictions: torch.Tensor, targets: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(1 - CCC of valence) + (1 - CCC of arousal) over all valid clips of the batch, flattened (arXiv 2209.09068).

    Always computed in float32, also under autocast and for half-precision predictions.

    Args:
        targets: (..., 2); values outside the mask are ignored.
        mask: (...) bool, True for clips that count.

    Returns:
        A scalar, 0 (perfect) to 4; NaN for fewer than two valid clips.
    """
    with torch.autocast(predictions.device.type, enabled=False):
        scores = [ccc(predictions[..., target].float(), targets[..., target].float(), mask) for target in range(2)]
        return (1 - scores[0]) + (1 - scores[1])
