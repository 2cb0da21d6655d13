import pytest
import torch

from avfusion.training.schedule import LearningRate, SmoothedScore


def make(kind: str, epochs: int = 10, warmup: int = 0) -> LearningRate:
    return LearningRate(torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=1.0), kind, epochs, warmup)


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


@pytest.mark.parametrize("kind", ["plateau", "cosine", "constant"])
def test_warmup_rises_in_even_steps_and_the_schedule_begins_after_it(kind: str) -> None:
    warmed, cold = make(kind, epochs=13, warmup=3), make(kind)
    rates = []
    for _ in range(3):
        rates.append(warmed.value)
        warmed.step(0.9)
    assert rates == [0.25, 0.5, 0.75]
    for score in (0.2, *[0.1] * 9):
        assert warmed.value == pytest.approx(cold.value)
        for rate in (warmed, cold):
            rate.optimiser.step()
            rate.step(score)
    assert warmed.value == pytest.approx(cold.value)
    assert cold.value == {"plateau": 0.5, "constant": 1}.get(kind, pytest.approx(0, abs=1e-9))


@pytest.mark.parametrize("stopped", [1, 3, 5])
def test_state_continues_a_warmup(stopped: int) -> None:
    whole, first, second = (make("cosine", warmup=3) for _ in range(3))
    rates = []
    for epoch in range(8):
        if epoch == stopped:
            second.load_state_dict(first.state_dict())
            second.optimiser.load_state_dict(first.optimiser.state_dict())
        rates.append((whole.value, (first if epoch < stopped else second).value))
        for rate in (whole, first if epoch < stopped else second):
            rate.optimiser.step()
            rate.step(0.1)
    assert all(there == here for there, here in rates)


def test_smoothed_score_is_the_normalised_mean_of_the_scores_so_far() -> None:
    smoothed, scores = SmoothedScore(0.5), (0.4, 0.8, 0.2)
    found = [smoothed.step(score) for score in scores]
    assert found == pytest.approx([0.4, (0.2 + 0.8) / 1.5, (0.1 + 0.4 + 0.2) / 1.75])
    resumed = SmoothedScore(0.5)
    resumed.load_state_dict(smoothed.state_dict())
    assert resumed.step(0.6) == smoothed.step(0.6)


def test_without_smoothing_the_score_keeps_its_bits() -> None:
    smoothed = SmoothedScore(0.0)
    assert [smoothed.step(score) for score in (0.1, -0.3, 1 / 3)] == [0.1, -0.3, 1 / 3]
