"""Folds over base videos, the windows chosen on them, and scores of what was not trained on."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from avfusion.config import Geometry, check_params
from avfusion.corpora.table import read_tracks
from avfusion.data.track_data import TrackData, load_split
from avfusion.errors import AVFusionError, BadInputError
from avfusion.evaluation.crossval import choose_windows, cross_validate, grouped_folds
from avfusion.evaluation.track_predictions import TrackPredictions

SECTIONS = {
    "common": {"threads": 1},
    "corpus": {},
    "evaluate": {"bootstrap": 100},
    "features": {"stride": 8},
    "geometry": {"fps": 25},
    "train": {"model": "concat", "baselines": [], "epochs": 3, "batch_size": 8, "lr": 3e-3, "dropout": 0.1},
}


@pytest.fixture
def root(plant: Callable[..., Path]) -> Path:
    return plant(tracks={"train": 7, "val": 3, "test": 2}, seconds=12)


def load(root: Path, split: str) -> list[TrackData]:
    return load_split(root, read_tracks(root / "data" / "corpus" / "tracks.parquet"), split, Geometry(fps=25))


def test_the_official_split_comes_first_and_every_training_track_is_scored_once(root: Path) -> None:
    train, val = load(root, "train"), load(root, "val")
    # Two people in a video.
    train[1] = dataclasses.replace(train[1], video=train[0].video)
    folds = grouped_folds(train, val, 6)
    assert len(folds) == 6
    assert [track.track for track in folds[0].train] == [track.track for track in train]
    assert [track.track for track in folds[0].validation] == [track.track for track in val]
    held = [track.track for fold in folds[1:] for track in fold.validation]
    assert sorted(held) == sorted(track.track for track in train)
    for fold in folds:
        videos = [{track.video for track in side} for side in (fold.train, fold.validation)]
        assert not videos[0] & videos[1]
        assert len(fold.train) + len(fold.validation) == 10
    together = [fold for fold in folds[1:] if train[0].track in {track.track for track in fold.validation}]
    assert train[1].track in {track.track for track in together[0].validation}


def test_leaks_and_too_many_folds_are_refused(root: Path) -> None:
    train, val = load(root, "train"), load(root, "val")
    leaking = [*val[1:], dataclasses.replace(val[0], video="train-3")]
    with pytest.raises(AVFusionError, match="fold 0: trained and scored on the same videos: train-3"):
        grouped_folds(train, leaking, 3)
    for folds in (1, 9):
        with pytest.raises(BadInputError, match=f"folds is {folds}: allowed are 2 to 8"):
            grouped_folds(train, val, folds)
    both_ways = grouped_folds(train, val, 2)
    assert [track.track for track in both_ways[1].train] == [track.track for track in val]


def test_windows_are_those_with_the_best_score() -> None:
    rng, time_s = np.random.default_rng(0), np.arange(2000) / 25
    labels = np.stack([np.sin(time_s * 0.5), np.sin(time_s * 6)], axis=1).astype(np.float32)
    noisy = labels + rng.normal(size=labels.shape) * (1.0, 0.02)
    track = TrackPredictions(
        *("t", "t", "val", time_s, labels, np.ones(2000, bool), np.ones((2000, 2), bool)),
        {"m": noisy.astype(np.float32)},
    )
    slow, fast = choose_windows([track], "m")
    assert slow >= 20  # slow and noisy: smoothed a lot
    assert fast == 1  # fast and clean: not at all


def test_models_are_scored_on_what_they_were_not_trained_on(root: Path) -> None:
    result = cross_validate(root, check_params(SECTIONS, SECTIONS), folds=3)
    assert result["videos"] == [
        {"train": 7, "validation": 3},
        {"train": 6, "validation": 4},
        {"train": 7, "validation": 3},
    ]
    found = result["models"]["concat"]
    assert len(found["folds"]) == 3
    assert found["mean"] == pytest.approx(np.mean(found["folds"]))
    assert found["folds"][0] == found["val"]["ccc_mean"]
    assert (found["out_of_fold"]["tracks"], found["val"]["tracks"], found["test"]["tracks"]) == (10, 3, 2)
    assert found["test"]["ccc_mean"] > 0.3  # planted: three epochs see it
    assert found["test"]["smoothed"]["ccc_mean"] != found["test"]["ccc_mean"] or found["windows"] == [1, 1]
