"""Calibrated values and bands: arithmetic by hand, and what a band holds of videos that it has not seen."""

import json

import numpy as np
import pytest

from avfusion.scoring.calibration import Calibration, coverage, lines_of_sums, regression
from avfusion.scoring.calibration_fit import fit_calibration
from avfusion.scoring.intervals import group_sums

EIGHT = np.arange(8)


def of_one_target(values: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> Calibration:
    found = fit_calibration(np.stack([values, values], 1), np.stack([labels, labels], 1), groups, "inner")
    assert found is not None
    return found


def test_the_line_is_that_of_least_squares() -> None:
    values, labels = np.array([0.0, 1.0, 2.0, 3.0]), np.array([1.0, 1.0, 2.0, 4.0])
    # Means 1.5 and 2; sum of products (-1.5)(-1) + (-.5)(-1) + (.5)(0) + (1.5)(2) = 5 over squares of 5.
    assert regression(values, labels) == pytest.approx((1.0, 0.5))
    sums = group_sums(values, labels, np.zeros(4, int)).sum(axis=0)
    assert lines_of_sums(sums) == pytest.approx((1.0, 0.5))
    assert regression(np.ones(4), labels) is None
    assert np.isnan(lines_of_sums(group_sums(np.ones(4), labels, np.zeros(4, int)).sum(axis=0))).all()


def test_a_network_trained_for_ccc_is_drawn_in_by_its_correlation() -> None:
    rng = np.random.default_rng(0)
    labels = 0.3 * rng.normal(size=40_000)
    heard = 0.6 * labels + 0.8 * 0.3 * rng.normal(size=40_000)  # correlation .6, and as wide as the labels
    slope, offset = regression(heard, labels) or (0, 0)
    assert slope == pytest.approx(0.6, abs=0.02)
    assert offset == pytest.approx(0, abs=0.01)


def test_the_band_is_the_quantile_of_errors_with_each_group_weighing_as_much() -> None:
    # 9 groups weigh .1 each, .1 lies at infinity: .8 of the weight is reached in the eighth group by size of error.
    groups = np.repeat(np.arange(9), [1, 1, 1, 1, 1, 1, 1, 1, 500])
    errors = np.where(groups == 8, 0.001, 0.02 * groups)  # the longest has the smallest errors, and counts once
    found = of_one_target(np.zeros(len(groups)), errors, groups)
    assert found.slope == (0.0, 0.0), "constant values say nothing"
    others = [errors[groups != group].mean() for group in range(9)]  # each error is from the line without its group
    by_group = sorted(np.abs(errors[groups == group] - others[group]).max() for group in range(9))
    assert found.half_width[0] == pytest.approx(by_group[7])


def test_a_wrong_direction_is_not_turned_round() -> None:
    labels = np.linspace(-0.5, 0.5, 8)
    found = of_one_target(-labels, labels, EIGHT)
    assert found.slope == (0.0, 0.0)
    assert found.offset == pytest.approx((0.0, 0.0))


def test_values_and_bands_stay_in_the_plane() -> None:
    found = Calibration((0.5, 2.0), (0.1, 0.0), (0.3, 0.4), 12, "validation")
    values = np.array([[0.4, 0.9], [np.nan, np.nan]], np.float32)
    calibrated = found.apply(values)
    np.testing.assert_allclose(calibrated[0], [0.3, 1.0], atol=1e-6)
    low, high = found.band(calibrated)
    np.testing.assert_allclose(low[0], [0.0, 0.6], atol=1e-6)
    np.testing.assert_allclose(high[0], [0.6, 1.0], atol=1e-6)
    assert np.isnan([calibrated[1], low[1], high[1]]).all()
    assert {calibrated.dtype, low.dtype, high.dtype} == {np.dtype("float32")}


def test_it_survives_json_and_needs_eight_groups() -> None:
    found = of_one_target(np.linspace(-1, 1, 8), np.linspace(-0.5, 0.4, 8), EIGHT)
    assert Calibration.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    assert fit_calibration(np.zeros((7, 2)), np.zeros((7, 2)), np.arange(7), "inner") is None
    for damaged in ({}, {**found.to_dict(), "split": "test"}, {**found.to_dict(), "valence": {"slope": float("nan")}}):
        with pytest.raises((KeyError, ValueError)):
            Calibration.from_dict(damaged)
    assert found.words().startswith("valence -0.050 +0.450 × value ± ")
    assert found.words().endswith("80% bands, fitted on 8 stopping videos")


def drawn(rng: np.random.Generator, videos: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions, labels and groups of videos of lognormal lengths; errors have a level and a size in each."""
    lengths = np.maximum(20, 100 * rng.lognormal(0, 0.94, videos)).astype(int)
    groups = np.repeat(np.arange(videos), lengths)
    level, size = 0.15 * rng.normal(size=(videos, 2)), 0.2 * rng.lognormal(0, 0.4, (videos, 1))
    labels = 0.3 * rng.normal(size=(len(groups), 2))
    return labels + level[groups] + size[groups] * rng.normal(size=labels.shape), labels, groups


@pytest.mark.parametrize(("videos", "corpora", "widest"), [(8, 200, 0.92), (36, 60, 0.85)])
def test_what_a_band_holds_of_new_videos(videos: int, corpora: int, widest: float) -> None:
    rng, held = np.random.default_rng(1), []
    for _ in range(corpora):
        found = fit_calibration(*drawn(rng, videos), "inner")
        assert found is not None
        held.append(coverage(found, *drawn(rng, 40)))
    assert 0.79 < np.mean(held) < widest


def of_levels(rng: np.random.Generator, videos: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same where a video's level is nearly all of its error."""
    groups = np.repeat(np.arange(videos), 20)
    level, labels = 0.2 * rng.normal(size=(videos, 2)), 0.3 * rng.normal(size=(len(groups), 2))
    return labels + level[groups] + 0.03 * rng.normal(size=labels.shape), labels, groups


def test_a_line_fitted_to_few_levels_does_not_flatter_its_band() -> None:
    rng, held = np.random.default_rng(2), []
    for _ in range(150):
        found = fit_calibration(*of_levels(rng, 9), "inner")
        assert found is not None
        held.append(coverage(found, *of_levels(rng, 40)))
    assert np.mean(held) > 0.8  # .75 with errors from the line itself
