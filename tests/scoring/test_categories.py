"""Scores of people by category."""

import numpy as np
import pytest
from scipy import stats

from avfusion.scoring.categories import mean_interval, scores_by_category
from avfusion.scoring.metrics import pooled_scores
from avfusion.scoring.track_predictions import TrackPredictions

BIAS = {"f": 0.1, "m": -0.2, "": 0.0}


def track(number: int, category: str, frames: int = 100) -> TrackPredictions:
    """Predictions off by the category's bias, and by an own one of the video, from labels."""
    rng = np.random.default_rng(number)
    time_s = np.arange(frames) / 25
    labels = 0.5 * np.stack([np.sin(time_s + number), np.cos(time_s + number)], axis=1)
    own = BIAS[category] + 0.02 * rng.normal()
    return TrackPredictions(
        *(f"t{number}", f"v{number}", "val", time_s, labels, np.arange(frames) >= 10, np.ones((frames, 2), bool)),
        {"jca": labels + own + 0.01 * rng.normal(size=labels.shape)},
    )


CATEGORIES = ["m", "f", "", "m", "f", "m", "m", "m", "m", "m", "m", "m"]
TRACKS = [track(number, category) for number, category in enumerate(CATEGORIES)]
ATTRIBUTES = {entry.track: {"sex": category} for entry, category in zip(TRACKS, CATEGORIES, strict=True)}


def test_each_category_is_scored_by_its_own_tracks() -> None:
    found = scores_by_category(TRACKS, "jca", ATTRIBUTES)["sex"]
    assert list(found) == ["f", "m", ""]
    assert [entry["tracks"] for entry in found.values()] == [2, 9, 1]
    for category, entry in found.items():
        own = [one for one, mine in zip(TRACKS, CATEGORIES, strict=True) if mine == category]
        errors = np.concatenate([(one.predictions["jca"] - one.labels)[one.valid, 0] for one in own])
        assert entry["bias_valence"] == pytest.approx(errors.mean())
        assert entry["bias_valence"] == pytest.approx(BIAS[category], abs=0.05)
        assert entry["rmse_valence"] == pytest.approx(np.sqrt((errors**2).mean()))
        assert entry["ccc_arousal"] == pooled_scores(own, "jca")["ccc_arousal"]
        assert entry["frames"] == 90 * len(own)
    low, high = found["m"]["bias_ci95_valence"]
    assert low < found["m"]["bias_valence"] < high < 0
    assert found["m"]["rmse_ci95_arousal"][0] < found["m"]["rmse_arousal"] < found["m"]["rmse_ci95_arousal"][1]
    assert found["m"]["note"]
    assert [found[""][f"{kind}_ci95_valence"] for kind in ("bias", "rmse", "ccc")] == [None] * 3


def test_tracks_without_labels_or_attributes_add_nothing() -> None:
    assert scores_by_category(TRACKS, "jca", {}) == {}
    assert scores_by_category(TRACKS[:1], "other", ATTRIBUTES) == {}


def test_the_interval_of_a_mean_is_students_for_equally_long_groups() -> None:
    means = np.random.default_rng(0).normal(size=12)
    values, groups = np.repeat(means, 5), np.repeat(np.arange(12) + 2, 5)
    mean, ends = mean_interval(values, groups)
    expected = stats.t.interval(0.95, 11, loc=means.mean(), scale=stats.sem(means))
    assert mean == pytest.approx(means.mean())
    assert ends == pytest.approx(expected)
    assert mean_interval(values[:5], groups[:5]) == (pytest.approx(means[0]), None)


def test_the_interval_of_a_mean_covers_where_groups_differ_in_length() -> None:
    rng, held = np.random.default_rng(1), 0
    for _ in range(400):
        lengths = np.maximum(1, (20 * rng.lognormal(sigma=0.5, size=30)).astype(int))
        values = np.repeat(rng.normal(size=30), lengths) + rng.normal(size=lengths.sum())
        _, ends = mean_interval(values, np.repeat(np.arange(30), lengths))
        assert ends is not None
        held += ends[0] <= 0 <= ends[1]
    assert held / 400 > 0.91
