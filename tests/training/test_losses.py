import pytest
import torch

from avfusion.training.losses import ccc_loss


def test_perfect_is_zero_mirrored_is_four() -> None:
    targets = torch.randn(3, 16, 2)
    mask = torch.ones(3, 16, dtype=torch.bool)
    centred = targets - targets.mean((0, 1))
    assert ccc_loss(targets, targets, mask) == pytest.approx(0, abs=1e-5)
    assert ccc_loss(-centred, centred, mask) == pytest.approx(4, abs=1e-5)


def test_is_pooled_over_the_batch_and_blind_to_masked_clips() -> None:
    torch.manual_seed(0)
    predictions, targets = torch.randn(2, 4, 16, 2)
    mask = torch.rand(4, 16) < 0.5
    x, y = predictions[mask].double(), targets[mask].double()
    by_hand = sum(
        1
        - 2
        * ((x[:, c] - x[:, c].mean()) * (y[:, c] - y[:, c].mean())).mean()
        / (x[:, c].var(correction=0) + y[:, c].var(correction=0) + (x[:, c].mean() - y[:, c].mean()) ** 2)
        for c in range(2)
    )
    targets[~mask] = float("nan")
    assert ccc_loss(predictions, targets, mask).item() == pytest.approx(float(by_hand), abs=1e-5)


def test_half_precision_predictions_are_scored_in_float32() -> None:
    torch.manual_seed(0)
    # Far from zero with a small spread: in bfloat16 the moments would be lost.
    targets = 0.9 + 0.01 * torch.randn(1, 4000, 2)
    predictions = (targets + 0.01 * torch.randn_like(targets)).bfloat16().requires_grad_()
    mask = torch.ones(1, 4000, dtype=torch.bool)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = ccc_loss(predictions, targets, mask)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(ccc_loss(predictions.double().float(), targets, mask).item(), abs=1e-6)
    loss.backward()
    assert predictions.grad is not None
    assert predictions.grad.abs().sum() > 0
