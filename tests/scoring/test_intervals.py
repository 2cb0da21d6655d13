"""Intervals, p values and effective numbers; coverage on simulated corpora."""

import functools
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from avfusion.scoring.ccc import ccc
from avfusion.scoring.intervals import (
    FEW_GROUPS,
    TOO_FEW_GROUPS,
    ccc_of_sums,
    effective_groups,
    few_note,
    group_sums,
    holm,
    interval,
    p_value,
)
from avfusion.scoring.seeds import seed_coefficients

Frames = tuple[np.ndarray, np.ndarray, np.ndarray]
KERNEL = np.exp(-(np.arange(-20, 21) ** 2) / 72)
KERNEL /= np.sqrt((KERNEL**2).sum())


def lengths(rng: np.random.Generator, videos: int, spread: float, frames: int = 60) -> np.ndarray:
    """Frames of each video, lognormal with a standard deviation of `spread` in the logarithm."""
    drawn = frames * np.exp(spread * rng.normal(size=videos) - spread**2 / 2)
    return np.maximum(2, np.round(drawn)).astype(int)


def waves(rng: np.random.Generator, counts: np.ndarray) -> np.ndarray:
    """A smooth curve of its own for each video, of unit variance, one after the other."""
    noise = np.convolve(rng.normal(size=int((counts + 40).sum())), KERNEL, "valid")
    starts = np.concatenate([[0], np.cumsum(counts + 40)[:-1]])
    return np.concatenate([noise[start : start + count] for start, count in zip(starts, counts, strict=True)])


def trainings(
    rng: np.random.Generator, videos: int, spread: float = 0.0, seeds: int = 1, luck: float = 0.0
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Predictions of two models with some seeds each (the first model's first), truth, and each frame's video.

    Every video has an offset, a gain and an error of its own, in part shared by both models; a seed has a gain of its
    own, of standard deviation `luck`.
    """
    counts = lengths(rng, videos, spread)
    video = np.repeat(np.arange(videos), counts)
    truth = 0.35 * waves(rng, counts) + rng.normal(0, 0.25, videos)[video]
    gain, offset = rng.normal(0.8, 0.25, videos), rng.normal(0, 0.2, videos)
    guesses = []
    for error in (0.25, 0.3):
        own = gain + rng.normal(0, 0.1, videos), offset + rng.normal(0, 0.08, videos)
        for _ in range(seeds):
            gains = own[0] + rng.normal(0, 1) * luck + rng.normal(0, 0.05, videos)
            offsets = own[1] + rng.normal(0, 0.05, videos)
            guesses.append(gains[video] * truth + offsets[video] + error * waves(rng, counts))
    return guesses, truth, video


def corpus(rng: np.random.Generator, videos: int, spread: float = 0.0) -> Frames:
    """Predictions of one model, truth and each frame's video."""
    (guess, _), truth, video = trainings(rng, videos, spread)
    return guess, truth, video


def test_ccc_from_sums_equals_ccc_of_frames() -> None:
    x, y, videos = corpus(np.random.default_rng(0), 7)
    sums = group_sums(x, y, videos)
    assert ccc_of_sums(sums.sum(0)) == pytest.approx(ccc(x, y), abs=1e-12)
    for video in range(7):
        at = videos == video
        assert ccc_of_sums(sums)[video] == pytest.approx(ccc(x[at], y[at]), abs=1e-10)


def test_the_interval_is_that_of_leaving_videos_out_by_hand() -> None:
    x, y, videos = corpus(np.random.default_rng(1), 12, spread=0.3)
    without = np.arctanh([ccc(x[videos != video], y[videos != video]) for video in range(12)])
    middle, counts = np.arctanh(ccc(x, y)), np.bincount(videos)
    error = np.sqrt(11 / 12 * ((without - middle) ** 2).sum())
    freedom = counts.sum() ** 2 / (counts**2).sum() - 1
    assert 7 < freedom < 11
    reach = stats.t.ppf(0.975, freedom) * error
    found = interval(group_sums(x, y, videos)[None], [1.0])
    assert found == pytest.approx((np.tanh(middle - reach), np.tanh(middle + reach)), abs=1e-9)


def test_seeds_widen_the_interval_by_their_own_variance() -> None:
    """Welch and Satterthwaite by hand, for a difference over three seeds."""
    guesses, y, videos = trainings(np.random.default_rng(2), 16, seeds=3, luck=0.08)
    sums = np.stack([group_sums(x, y, videos) for x in guesses])
    rows = seed_coefficients([1.0], (1, -1), 3)
    assert rows.tolist() == [[1, 0, 0, -1, 0, 0], [0, 1, 0, 0, -1, 0], [0, 0, 1, 0, 0, -1]]
    by_seed = np.array([ccc(guesses[s], y) - ccc(guesses[3 + s], y) for s in range(3)])
    without = []
    for video in range(16):
        at = videos != video
        scores = [ccc(x[at], y[at]) for x in guesses]
        without.append(np.mean(scores[:3]) - np.mean(scores[3:]))
    groups = 15 / 16 * ((np.array(without) - by_seed.mean()) ** 2).sum()
    seeds = by_seed.var(ddof=1) / 3
    freedom = (groups + seeds) ** 2 / (groups**2 / 15 + seeds**2 / 2)
    error = np.sqrt(groups + seeds)
    reach = stats.t.ppf(0.975, freedom) * error
    found = interval(sums, rows, fisher=False)
    assert found == pytest.approx((by_seed.mean() - reach, by_seed.mean() + reach), abs=1e-9)
    assert p_value(sums, rows) == pytest.approx(2 * stats.t.sf(abs(by_seed.mean()) / error, freedom), abs=1e-9)
    trained = interval(sums, rows.mean(axis=0), fisher=False)
    assert trained is not None
    assert found is not None
    assert trained[1] - trained[0] < found[1] - found[0]


def test_intervals_shrink_with_the_number_of_videos_and_hold_the_score() -> None:
    rng = np.random.default_rng(2)
    widths = []
    for videos in (8, 32, 128):
        spans = []
        for _ in range(20):
            x, y, numbers = corpus(rng, videos)
            low, high = interval(group_sums(x, y, numbers)[None], [1.0])  # type: ignore[misc]
            assert -1 <= low < ccc(x, y) < high <= 1
            spans.append(high - low)
        widths.append(np.mean(spans))
    assert widths == sorted(widths, reverse=True)
    assert widths[2] == pytest.approx(widths[1] / 2, rel=0.2)


def test_effective_numbers_and_what_is_said_of_them() -> None:
    assert effective_groups([10] * 12) == 12
    assert effective_groups([100, 1, 1]) == pytest.approx(102**2 / 10002)
    assert effective_groups([5, 0, 5]) == 2
    assert effective_groups([]) == 0
    assert few_note(FEW_GROUPS) == ""
    assert "narrow" in few_note(FEW_GROUPS - 0.1)
    assert "narrow" in few_note(TOO_FEW_GROUPS)
    assert few_note(TOO_FEW_GROUPS - 0.1) == "too few videos for an interval"


def test_below_eight_effective_videos_there_is_neither_interval_nor_p() -> None:
    rng = np.random.default_rng(0)
    few = group_sums(*corpus(rng, 7))[None]
    assert interval(few, [1.0]) is None
    assert p_value(few, [1.0]) is None
    # A video without a valid frame is none.
    x, y, videos = corpus(rng, 7)
    assert interval(group_sums(x, y, videos + 3)[None], [1.0]) is None
    # Ten videos of which one has nearly all frames are one.
    counts = np.array([4000, *[10] * 9])
    video = np.repeat(np.arange(10), counts)
    x, y = rng.normal(size=(2, counts.sum()))
    assert interval(group_sums(x, y, video)[None], [1.0]) is None
    assert interval(group_sums(*corpus(rng, 8))[None], [1.0]) is not None


def test_perfect_predictions_end_at_one() -> None:
    _, y, videos = corpus(np.random.default_rng(0), 9)
    assert interval(group_sums(y, y, videos)[None], [1.0]) == pytest.approx((1, 1), abs=1e-6)


def test_paired_difference_has_the_sign_and_is_narrower_than_unpaired() -> None:
    rng = np.random.default_rng(3)
    x, y, videos = corpus(rng, 16)
    worse = x + rng.normal(0, 0.15, len(x))
    good, bad = group_sums(x, y, videos), group_sums(worse, y, videos)
    low, high = interval(np.stack([good, bad]), [1.0, -1.0], fisher=False)  # type: ignore[misc]
    assert 0 < low < ccc(x, y) - ccc(worse, y) < high
    assert p_value(np.stack([good, bad]), [1.0, -1.0]) < 0.05  # type: ignore[operator]
    assert interval(np.stack([bad, good]), [1.0, -1.0], fisher=False) == pytest.approx((-high, -low), abs=1e-12)
    alone = interval(good[None], [1.0], fisher=False)
    assert alone is not None
    assert high - low < (alone[1] - alone[0]) / 2
    assert interval(np.stack([good, good]), [1.0, -1.0], fisher=False) == pytest.approx((0, 0), abs=1e-12)
    assert p_value(np.stack([good, good]), [1.0, -1.0]) == 1


def test_p_is_below_a_twentieth_exactly_where_the_interval_excludes_nothing() -> None:
    rng = np.random.default_rng(5)
    seen = set()
    for _ in range(40):
        guesses, y, videos = trainings(rng, 10)
        sums = np.stack([group_sums(x, y, videos) for x in guesses])
        low, high = interval(sums, [1.0, -1.0], fisher=False)  # type: ignore[misc]
        assert (p_value(sums, [1.0, -1.0]) < 0.05) == (not low <= 0 <= high)  # type: ignore[operator]
        seen.add(not low <= 0 <= high)
    assert seen == {True, False}


def test_holm_multiplies_by_what_is_left() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.02, None, 0.5]) == [0.04, None, 0.5]
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@functools.cache
def true_score(parts: int) -> float:
    """CCC of 20,000 videos a part; of 15 parts its error is a thirtieth of the standard error at 356 videos."""
    rng = np.random.default_rng(13)
    return float(ccc_of_sums(sum(group_sums(*corpus(rng, 20000)).sum(axis=0) for _ in range(parts))))


def coverage(videos: int, spread: float, corpora: int, parts: int = 15) -> tuple[float, float, float]:
    """How often the interval of a score holds the true CCC, its median width, and the median effective number."""
    rng = np.random.default_rng(11)
    truth = true_score(parts)
    drawn = [group_sums(*corpus(rng, videos, spread))[None] for _ in range(corpora)]
    found = [(interval(sums, [1.0]), effective_groups(sums[0, :, 0])) for sums in drawn]
    ends = np.array([pair for pair, _ in found if pair is not None]).reshape(-1, 2)
    if len(ends) < corpora / 2:
        return np.nan, np.nan, float(np.median([effective for _, effective in found]))
    held = (ends[:, 0] <= truth) & (truth <= ends[:, 1])
    effective = float(np.median([count for _, count in found]))
    return float(held.mean()), float(np.median(ends[:, 1] - ends[:, 0])), effective


def method_coverage(videos: int, spread: float, seeds: int, corpora: int) -> tuple[float, float]:
    """How often the interval of the difference between two methods holds the true one: over seeds, and without them."""
    rng = np.random.default_rng(12)
    luck = 0.08 * (seeds > 1)
    guesses, y, _ = trainings(rng, 6000, seeds=40, luck=luck)
    scores = np.array([ccc(x, y) for x in guesses])
    truth, rows = scores[:40].mean() - scores[40:].mean(), seed_coefficients([1.0], (1, -1), seeds)
    held = []
    for _ in range(corpora):
        guesses, y, video = trainings(rng, videos, spread, seeds, luck)
        sums = np.stack([group_sums(x, y, video) for x in guesses])
        ends = [interval(sums, coefficients, fisher=False) for coefficients in (rows, rows.mean(axis=0))]
        held.append([low <= truth <= high for low, high in (pair for pair in ends if pair is not None)])
    over_seeds, trained = np.mean([pair for pair in held if pair], axis=0)
    return float(over_seeds), float(trained)


def test_coverage_holds_where_few_videos_have_most_of_the_frames() -> None:
    assert coverage(40, 0.94, 150, parts=1)[0] >= 0.91


def test_only_an_interval_over_seeds_covers_the_method() -> None:
    over_seeds, trained = method_coverage(40, 0.0, 3, 60)
    assert over_seeds >= 0.91
    assert trained < over_seeds - 0.05


PAGE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
SPREADS = (0.0, 0.5, 0.94, 1.4)


@pytest.mark.slow
@pytest.mark.parametrize("videos", [8, 16, 40, 76, 356])
def test_coverage_over_a_thousand_corpora_is_what_the_page_says(videos: int) -> None:
    cells = []
    for spread in SPREADS:
        share, width, effective = coverage(videos, spread, 1000)
        if effective >= 40:
            assert share >= 0.93
        known = "none" if np.isnan(share) else f"{100 * share:.1f} % ({width:.2f})"
        cells.append(f"{known}, {effective:.0f}")
    print(f"| {videos} | {' | '.join(cells)} |")
    assert f"| {videos} | {' | '.join(cells)} |" in PAGE


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 3, 5])
def test_coverage_of_the_method_is_what_the_page_says(seeds: int) -> None:
    cells = []
    for videos, spread in ((16, 0.0), (40, 0.94), (76, 0.94)):
        over_seeds, trained = method_coverage(videos, spread, seeds, 1000)
        assert over_seeds >= 0.93
        cells.append(f"{100 * over_seeds:.1f} % ({100 * trained:.1f} %)")
    print(f"| {seeds} | {' | '.join(cells)} |")
    assert f"| {seeds} | {' | '.join(cells)} |" in PAGE
