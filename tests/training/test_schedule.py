import pytest
import torch

from avfusion.training.schedule import LearningRate


def make(kind: str, epochs: int = 10) -> LearningRate:
    return LearningRate(torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=1.0), kind, epochs)


def test_plateau_halves_only_after_five_epochs_without_a_better_score() -> None:
    rate = make("plateau")
    rates = []
    for score in (0.1, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.3):
        rate.step(score)
        rates.append(rate.value)
    assert rates == [1, 1, 1, 1, 1, 1, 0.5, 0.5]


def test_cosine_ends_at_zero() -> None:
    rate = make("cosine")
    for _ in range(10):
        rate.optimiser.step()
        rate.step(0.0)
    assert rate.value == pytest.approx(0, abs=1e-9)


def test_state_continues_the_count_of_bad_epochs() -> None:
    first = make("plateau")
    for score in (0.2, 0.1, 0.1, 0.1):
        first.step(score)
    second = make("plateau")
    second.load_state_dict(first.state_dict())
    for _ in range(2):
        second.step(0.1)
    assert second.value == 0.5


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="plateau, cosine, constant"):
        make("warmup")
