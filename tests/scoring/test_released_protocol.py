"""The published code's score by hand: what it counts, and by how much that inflates CCC."""

from fractions import Fraction

import numpy as np
import pytest

from avfusion.reports.report import metrics_table
from avfusion.scoring.metrics import pooled_scores
from avfusion.scoring.released_protocol import released_scores
from avfusion.scoring.track_predictions import TrackPredictions


def track(predictions: list[float], labels: list[float], valid: list[int], name: str = "a") -> TrackPredictions:
    """One track, arousal the negative of valence."""
    column, truth = np.array(predictions, np.float32), np.array(labels, np.float32)
    return TrackPredictions(
        track=name,
        video=name,
        split="val",
        time_s=np.arange(len(column)) / 25,
        labels=np.stack([truth, -truth], axis=1),
        valid=np.array(valid, bool),
        presence=np.ones((len(column), 2), bool),
        predictions={"jca": np.stack([column, -column], axis=1)},
    )


def by_hand(pairs: list[tuple[Fraction, Fraction]]) -> float:
    n = len(pairs)
    mean_x, mean_y = (sum(values) / n for values in zip(*pairs, strict=True))
    cov = sum(x * y for x, y in pairs) / n - mean_x * mean_y
    var = sum(x * x + y * y for x, y in pairs) / n - mean_x**2 - mean_y**2
    return float(2 * cov / (var + (mean_x - mean_y) ** 2))


# Three labelled frames and two without a label, where the model says something.
X, Y = [0.6, 0.2, -0.9, 0.1, 0.8], [0.8, -0.1, 0.7, 0.5, 0.0]
VALID = [1, 1, 0, 1, 0]
LABELLED = [(Fraction(6, 10), Fraction(8, 10)), (Fraction(2, 10), Fraction(-1, 10)), (Fraction(1, 10), Fraction(5, 10))]
ZEROS = [(Fraction(0), Fraction(0))] * 2


def test_unlabelled_frames_count_as_pairs_of_zeros() -> None:
    ours = pooled_scores([track(X, Y, VALID)], "jca")
    theirs = released_scores([track(X, Y, VALID)], "jca", windows=(1, 1))
    assert ours["ccc_valence"] == pytest.approx(by_hand(LABELLED), abs=1e-6)
    assert theirs["ccc_valence"] == pytest.approx(by_hand(LABELLED + ZEROS), abs=1e-6)
    assert theirs["ccc_arousal"] == pytest.approx(theirs["ccc_valence"], abs=1e-6)
    assert theirs["ccc_valence"] - ours["ccc_valence"] == pytest.approx(
        by_hand(LABELLED + ZEROS) - by_hand(LABELLED), abs=1e-6
    )
    assert theirs["ccc_valence"] > ours["ccc_valence"] + 0.05
    assert (ours["frames"], theirs["frames"], theirs["smoothed"]["frames"]) == (3, 5, 5)


def test_smoothing_runs_over_the_zeros_and_fades_at_the_ends() -> None:
    theirs = released_scores([track(X, Y, VALID)], "jca", windows=(3, 1))
    curve = [Fraction(6, 10), Fraction(2, 10), Fraction(0), Fraction(1, 10), Fraction(0)]
    padded = [Fraction(0), *curve, Fraction(0)]
    smoothed = [sum(padded[i : i + 3]) / 3 for i in range(5)]
    labels = [Fraction(8, 10), Fraction(-1, 10), Fraction(0), Fraction(5, 10), Fraction(0)]
    expected = by_hand(list(zip(smoothed, labels, strict=True)))
    assert theirs["smoothed"]["ccc_valence"] == pytest.approx(expected, abs=1e-6)
    assert theirs["smoothed"]["ccc_arousal"] == pytest.approx(by_hand(LABELLED + ZEROS), abs=1e-6)


def test_tracks_without_any_label_are_left_out() -> None:
    tracks = [track(X, Y, VALID), track(X, Y, [0] * 5, "b")]
    assert released_scores(tracks, "jca", windows=(1, 1))["frames"] == 5
    nothing = released_scores(tracks[1:], "jca", windows=(1, 1))
    assert (nothing["frames"], nothing["ccc_mean"], nothing["smoothed"]["ccc_mean"]) == (0, None, None)


def test_it_stands_beside_ours_only_where_it_is_asked_for() -> None:
    splits = {"val": [track(X, Y, VALID)]}
    plain = metrics_table(splits, ["jca"], windows_s=(0, 0))["val"]
    both = metrics_table(splits, ["jca"], windows_s=(0, 0), released=True)["val"]
    assert "released_protocol" not in plain["jca"]
    extra = both["jca"].pop("released_protocol")
    assert extra == released_scores(splits["val"], "jca")
    assert both == plain
