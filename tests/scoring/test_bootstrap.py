from pathlib import Path

import numpy as np
import pytest

from avfusion.scoring.bootstrap import Form, ccc_of_sums, interval, video_sums
from avfusion.scoring.ccc import ccc

FORMS: tuple[Form, ...] = ("studentised", "percentile", "bca")
Frames = tuple[np.ndarray, np.ndarray, np.ndarray]


def corpus(rng: np.random.Generator, videos: int, frames: int = 60) -> Frames:
    """Predictions, truth and video numbers: smooth truth, and a prediction with an error of its own in each video."""
    kernel = np.exp(-(np.arange(-20, 21) ** 2) / 72)
    kernel /= np.sqrt((kernel**2).sum())
    waves = rng.normal(size=(2, videos, frames + 40))
    truth, error = (np.stack([np.convolve(row, kernel, "valid") for row in part]) for part in waves)
    truth = 0.35 * truth + rng.normal(0, 0.25, (videos, 1))
    guess = rng.normal(0.8, 0.25, (videos, 1)) * truth + rng.normal(0, 0.2, (videos, 1)) + 0.25 * error
    return guess.ravel(), truth.ravel(), np.repeat(np.arange(videos), frames)


def test_ccc_from_sums_equals_ccc_of_frames() -> None:
    x, y, videos = corpus(np.random.default_rng(0), 7)
    sums = video_sums(x, y, videos)
    assert ccc_of_sums(sums.sum(0))[0] == pytest.approx(ccc(x, y), abs=1e-12)
    for video in range(7):
        at = videos == video
        assert ccc_of_sums(sums)[0][video] == pytest.approx(ccc(x[at], y[at]), abs=1e-10)


def test_gradient_is_that_of_the_score() -> None:
    total = video_sums(*corpus(np.random.default_rng(0), 3)).sum(0)
    _, gradient = ccc_of_sums(total)
    for k in range(6):
        step = np.zeros(6)
        step[k] = 1e-5 * total[0]
        slope = (ccc_of_sums(total + step)[0] - ccc_of_sums(total - step)[0]) / (2 * step[k])
        assert gradient[k] == pytest.approx(slope, rel=1e-4, abs=1e-9)


def test_percentile_is_what_resampling_frames_by_hand_gives() -> None:
    x, y, videos = corpus(np.random.default_rng(1), 6)
    weights = np.random.default_rng(4).multinomial(6, np.full(6, 1 / 6), size=300)
    scores = []
    for row in weights:
        rows = np.concatenate([np.flatnonzero(videos == v) for v, times in enumerate(row) for _ in range(times)])
        scores.append(ccc(x[rows], y[rows]))
    found = interval(video_sums(x, y, videos)[None], [1.0], resamples=300, seed=4, form="percentile")
    # Quantiles of z and of CCC differ only in how they interpolate between two resamples.
    assert found == pytest.approx(tuple(np.quantile(scores, (0.025, 0.975))), abs=2e-3)


def test_intervals_shrink_with_the_number_of_videos_and_hold_the_score() -> None:
    rng = np.random.default_rng(2)
    widths = []
    for videos in (3, 8, 32, 128):
        spans = []
        for _ in range(10):
            x, y, numbers = corpus(rng, videos)
            low, high = interval(video_sums(x, y, numbers)[None], [1.0], resamples=500)  # type: ignore[misc]
            assert -1 <= low < ccc(x, y) < high <= 1
            spans.append(high - low)
        widths.append(np.mean(spans))
    assert widths == sorted(widths, reverse=True)
    assert widths[3] == pytest.approx(widths[2] / 2, rel=0.3)


def test_fewer_than_two_videos_have_no_interval() -> None:
    x, y, videos = corpus(np.random.default_rng(0), 1)
    assert interval(video_sums(x, y, videos)[None], [1.0]) is None
    # A video without a valid frame is none.
    assert interval(video_sums(x, y, videos + 3)[None], [1.0]) is None


def test_perfect_predictions_end_at_one() -> None:
    _, y, videos = corpus(np.random.default_rng(0), 9)
    assert interval(video_sums(y, y, videos)[None], [1.0]) == pytest.approx((1, 1), abs=1e-6)


def test_paired_difference_has_the_sign_and_is_narrower_than_unpaired() -> None:
    rng = np.random.default_rng(3)
    x, y, videos = corpus(rng, 16)
    worse = x + rng.normal(0, 0.15, len(x))
    good, bad = video_sums(x, y, videos), video_sums(worse, y, videos)
    low, high = interval(np.stack([good, bad]), [1.0, -1.0], fisher=False)  # type: ignore[misc]
    assert 0 < low < ccc(x, y) - ccc(worse, y) < high
    assert interval(np.stack([bad, good]), [1.0, -1.0], fisher=False) == pytest.approx((-high, -low), abs=1e-12)
    alone = interval(good[None], [1.0], fisher=False)
    assert alone is not None
    assert high - low < (alone[1] - alone[0]) / 2
    assert interval(np.stack([good, good]), [1.0, -1.0], fisher=False) == pytest.approx((0, 0), abs=1e-12)


def coverage(videos: int, corpora: int) -> dict[str, tuple[float, float]]:
    """Of each form: how often the interval holds the true CCC, and its median width."""
    rng = np.random.default_rng(11)
    truth = ccc(*corpus(rng, 20000)[:2])
    drawn = [video_sums(*corpus(rng, videos))[None] for _ in range(corpora)]
    found = {}
    for form in FORMS:
        ends = np.array([interval(sums, [1.0], resamples=500, seed=i, form=form) for i, sums in enumerate(drawn)])
        held = (ends[:, 0] <= truth) & (truth <= ends[:, 1])
        found[form] = float(held.mean()), float(np.median(ends[:, 1] - ends[:, 0]))
    return found


def test_studentised_covers_better_than_percentile_with_few_videos() -> None:
    found = coverage(8, 250)
    assert found["studentised"][0] > 0.89
    assert found["percentile"][0] < found["studentised"][0] - 0.02


@pytest.mark.slow
@pytest.mark.parametrize(("videos", "least"), [(8, 0.9), (16, 0.91), (40, 0.92), (76, 0.92), (356, 0.92)])
def test_coverage_over_a_thousand_corpora_is_what_the_page_says(videos: int, least: float) -> None:
    found = coverage(videos, 1000)
    print(videos, found)
    assert found["studentised"][0] >= least
    if videos < 100:  # with hundreds of videos all forms are one
        assert found["studentised"][0] >= max(share for share, _ in found.values())
    page = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    cells = " | ".join(f"{100 * share:.1f} % ({width:.2f})" for share, width in found.values())
    assert f"| {videos} | {cells} |" in page
