import dataclasses

import numpy as np
import pytest

from avfusion.scoring.ccc import ccc
from avfusion.scoring.metrics import (
    errors_by_condition,
    paired_difference,
    pcc,
    pooled_scores,
    rmse,
    sagr,
    scores_by_presence,
    track_scores,
    valid_pairs,
)
from avfusion.scoring.track_predictions import TrackPredictions


def track(number: int, frames: int = 200, video: str = "", error: float = 0.3) -> TrackPredictions:
    rng = np.random.default_rng(number)
    time_s = np.arange(frames) / 25
    labels = np.stack([np.sin(time_s + number), np.cos(time_s * 1.3 + number)], axis=1).astype(np.float32) * 0.8
    valid = rng.random(frames) > 0.1
    labels[~valid] = 0
    predictions = np.clip(labels + number / 20 + error * rng.normal(size=labels.shape), -1, 1).astype(np.float32)
    return TrackPredictions(
        track=f"t{number}",
        video=video or f"v{number}",
        split="test",
        time_s=time_s,
        labels=labels,
        valid=valid,
        presence=np.ones((frames, 2), bool),
        predictions={"jca": predictions, "concat": (predictions * 0.5).astype(np.float32)},
        conditions={"burst": np.arange(frames) < 50},
    )


TRACKS = [track(number) for number in range(6)]


def test_pooled_is_the_ccc_of_all_valid_frames_concatenated() -> None:
    entry = pooled_scores(TRACKS, "jca")
    predictions = np.concatenate([t.predictions["jca"][t.valid] for t in TRACKS])
    labels = np.concatenate([t.labels[t.valid] for t in TRACKS])
    scores = [ccc(predictions[:, c], labels[:, c]) for c in range(2)]
    assert entry["ccc_valence"] == pytest.approx(scores[0])
    assert entry["ccc_arousal"] == pytest.approx(scores[1])
    assert entry["ccc_mean"] == pytest.approx(np.mean(scores))
    assert entry["frames"] == sum(t.valid.sum() for t in TRACKS)
    assert entry["tracks"] == 6
    per_track = np.mean([row["ccc_valence"] for row in track_scores(TRACKS, "jca")])
    assert abs(per_track - scores[0]) > 0.001


def test_smoothing_runs_over_all_frames_and_never_sees_labels() -> None:
    windows = (20, 50)
    smoothed, _, _ = valid_pairs(TRACKS, "jca", windows)
    other = [
        dataclasses.replace(t, labels=np.random.default_rng(0).normal(size=t.labels.shape).astype(np.float32))
        for t in TRACKS
    ]
    np.testing.assert_array_equal(valid_pairs(other, "jca", windows)[0], smoothed)
    # With invalid frames cut out first, the windows would reach over the gaps.
    cut = [
        dataclasses.replace(
            t,
            labels=t.labels[t.valid],
            valid=np.ones(t.valid.sum(), bool),
            predictions={"jca": t.predictions["jca"][t.valid]},
        )
        for t in TRACKS
    ]
    assert np.abs(valid_pairs(cut, "jca", windows)[0] - smoothed).max() > 1e-3


@pytest.mark.usefixtures("few_videos_are_enough")
def test_the_tracks_of_a_group_are_one_cluster() -> None:
    pairs = [dataclasses.replace(t, group=f"g{number // 2}") for number, t in enumerate(TRACKS)]
    assert set(valid_pairs(pairs, "jca")[2]) == {0, 1, 2}
    scores = pooled_scores(pairs, "jca")
    assert (scores["tracks"], scores["videos"], scores["groups"]) == (6, 6, 3)
    alone = pooled_scores(TRACKS, "jca")
    assert scores["ccc_mean"] == alone["ccc_mean"]
    assert scores["ci95_mean"] != alone["ci95_mean"]
    one = [dataclasses.replace(t, group="g") for t in TRACKS]
    assert pooled_scores(one, "jca")["ci95_mean"] is None
    assert pooled_scores(one, "jca")["ccc_mean"] is not None


def test_without_labels_numbers_are_none() -> None:
    blind = [dataclasses.replace(t, valid=np.zeros_like(t.valid)) for t in TRACKS]
    entry = pooled_scores(blind, "jca")
    assert [entry[key] for key in ("ccc_valence", "ccc_mean", "ci95_mean")] == [None, None, None]
    assert (entry["frames"], entry["tracks"], entry["videos"]) == (0, 0, 0)
    assert paired_difference(blind, "jca", "concat")["mean"]["difference"] is None
    assert track_scores(blind, "jca")[0]["ccc_valence"] is None


@pytest.mark.usefixtures("few_videos_are_enough")
def test_paired_difference_is_the_difference_of_the_scores() -> None:
    found = paired_difference(TRACKS, "jca", "concat")
    scores = {name: pooled_scores(TRACKS, name) for name in ("jca", "concat")}
    for target in ("valence", "arousal", "mean"):
        by_hand = scores["jca"][f"ccc_{target}"] - scores["concat"][f"ccc_{target}"]
        assert found[target]["difference"] == pytest.approx(by_hand)
        assert 0 < found[target]["ci95"][0] < by_hand < found[target]["ci95"][1]


def test_pooled_entry_has_pcc_rmse_and_sagr_of_the_same_pairs() -> None:
    entry = pooled_scores(TRACKS, "jca", windows_s=(0.2, 0.36))
    predictions, labels, _ = valid_pairs(TRACKS, "jca", (0.2, 0.36))
    error = predictions.astype(np.float64) - labels
    by_hand = {
        "pcc": [np.corrcoef(predictions[:, c], labels[:, c])[0, 1] for c in range(2)],
        "rmse": list(np.sqrt((error**2).mean(axis=0))),
        "sagr": list((np.sign(predictions) == np.sign(labels)).mean(axis=0)),
    }
    for kind, (valence, arousal) in by_hand.items():
        assert entry[f"{kind}_valence"] == pytest.approx(valence)
        assert entry[f"{kind}_arousal"] == pytest.approx(arousal)
        assert entry[f"{kind}_mean"] == pytest.approx((valence + arousal) / 2)
        assert entry[f"{kind}_valence"] >= entry["ccc_valence"] or kind != "pcc"
    row = track_scores(TRACKS, "concat")[2]
    only = TRACKS[2].predictions["concat"][TRACKS[2].valid], TRACKS[2].labels[TRACKS[2].valid]
    assert row["sagr_arousal"] == pytest.approx(np.mean(np.sign(only[0][:, 1]) == np.sign(only[1][:, 1])))


def test_sagr_counts_sides_of_zero() -> None:
    assert sagr(np.array([0.1, -0.1, 0.5, -0.2]), np.array([0.9, -0.9, -0.1, -1])) == 0.75
    assert sagr(np.array([0.0, 0.1]), np.array([0.0, 0.0])) == 0.5
    assert np.isnan(sagr(np.zeros(0), np.zeros(0)))


def test_scores_by_presence_part_the_frames() -> None:
    parted = []
    for entry in TRACKS:
        presence = np.ones_like(entry.presence)
        presence[:40, 1] = False
        presence[40:60] = False
        spoiled = entry.labels.copy()
        spoiled[:40] += 0.25
        parted.append(dataclasses.replace(entry, presence=presence, predictions={"jca": spoiled}))
    found = scores_by_presence(parted, "jca")
    assert found["audio alone"]["rmse_valence"] == pytest.approx(0.25, abs=1e-6)
    assert found["both"]["rmse_valence"] == 0
    assert found["both"]["ccc_arousal"] == pytest.approx(1)
    assert found["face alone"] == dict.fromkeys(found["both"]) | {"frames": 0}
    assert sum(part["frames"] or 0 for part in found.values()) == sum(t.valid.sum() for t in TRACKS)
    assert found["neither"]["frames"] == sum(t.valid[40:60].sum() for t in TRACKS)


def test_pcc_and_rmse() -> None:
    x = np.array([1.0, 2, 3, 4])
    assert pcc(x, 3 * x + 5) == pytest.approx(1)
    assert pcc(x, -x) == pytest.approx(-1)
    assert pcc(x, np.ones(4)) == 0
    assert rmse(x, x + 2) == pytest.approx(2)


def test_errors_inside_and_outside_of_a_condition() -> None:
    loud = []
    for entry in TRACKS:
        spoiled = entry.predictions["jca"].copy()
        spoiled[:50] = entry.labels[:50] + 0.5
        spoiled[50:] = entry.labels[50:] - 0.1
        loud.append(dataclasses.replace(entry, predictions={"jca": spoiled}))
    found = errors_by_condition(loud, "jca")["burst"]
    assert found["rmse_inside"] == pytest.approx(0.5)
    assert found["rmse_outside"] == pytest.approx(0.1, abs=1e-6)
    assert found["rmse_arousal_inside"] == pytest.approx(0.5)
    assert found["rmse_valence_outside"] == pytest.approx(0.1, abs=1e-6)
    assert found["frames_inside"] == sum(t.valid[:50].sum() for t in TRACKS)
