"""Folds over base videos."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from avfusion.corpora.table import read_tracks
from avfusion.data.settings import GeometrySettings
from avfusion.data.track_data import TrackData, load_split
from avfusion.experiments.folds import grouped_folds
from avfusion.runtime.errors import AVFusionError, BadInputError

Tracks = dict[str, list[TrackData]]


@pytest.fixture
def tracks(plant: Callable[..., Path]) -> Tracks:
    root = plant(tracks={"train": 7, "val": 3, "test": 1}, seconds=3)
    table = read_tracks(root / "data" / "corpus" / "tracks.parquet")
    return {split: load_split(root, table, split, GeometrySettings(fps=25)) for split in ("train", "val")}


def test_the_official_split_comes_first_and_every_training_track_is_scored_once(tracks: Tracks) -> None:
    train, val = tracks["train"], tracks["val"]
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


def test_leaks_and_too_many_folds_are_refused(tracks: Tracks) -> None:
    train, val = tracks["train"], tracks["val"]
    leaking = [*val[1:], dataclasses.replace(val[0], video="train-3")]
    with pytest.raises(AVFusionError, match="fold 0: trained and scored on the same videos: train-3"):
        grouped_folds(train, leaking, 3)
    for folds in (1, 9):
        with pytest.raises(BadInputError, match=f"folds is {folds}: must be from 2 to 8"):
            grouped_folds(train, val, folds)
    both_ways = grouped_folds(train, val, 2)
    assert [track.track for track in both_ways[1].train] == [track.track for track in val]
