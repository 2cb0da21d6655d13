"""Folds over groups of videos."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from avfusion.corpora.table import read_tracks
from avfusion.data.settings import GeometrySettings
from avfusion.data.track_data import TrackData, load_split
from avfusion.experiments.folds import grouped_folds, shared_groups
from avfusion.runtime.errors import BadInputError

Tracks = dict[str, list[TrackData]]


@pytest.fixture
def tracks(plant: Callable[..., Path]) -> Tracks:
    root = plant(tracks={"train": 7, "val": 3, "test": 1}, seconds=3)
    table = read_tracks(root / "data" / "corpus" / "tracks.parquet")
    return {split: load_split(root, table, split, GeometrySettings(fps=25)) for split in ("train", "val")}


def test_the_official_split_comes_first_and_every_training_track_is_scored_once(tracks: Tracks) -> None:
    train, val = tracks["train"], tracks["val"]
    train[1] = dataclasses.replace(train[1], group=train[0].group)  # two parts of an original
    folds = grouped_folds(train, val, 6)
    assert len(folds) == 6
    assert [track.track for track in folds[0].train] == [track.track for track in train]
    assert [track.track for track in folds[0].validation] == [track.track for track in val]
    held = [track.track for fold in folds[1:] for track in fold.validation]
    assert sorted(held) == sorted(track.track for track in train)
    for fold in folds:
        assert not shared_groups(fold)
        assert len(fold.train) + len(fold.validation) == 10
    together = [fold for fold in folds[1:] if train[0].track in {track.track for track in fold.validation}]
    assert train[1].track in {track.track for track in together[0].validation}


def test_a_group_in_both_official_splits_is_told_there_and_apart_in_every_other_fold(tracks: Tracks) -> None:
    train, val = tracks["train"], tracks["val"]
    across = [*val[1:], dataclasses.replace(val[0], group=train[3].group)]
    official, *others = grouped_folds(train, across, 3)
    assert shared_groups(official) == [train[3].group]
    assert [track.track for track in official.validation] == [track.track for track in across]
    assert not any(shared_groups(fold) for fold in others)
    sizes = [(len(fold.train), len(fold.validation)) for fold in others]
    assert sorted(train + scored for train, scored in sizes) == [9, 10]  # the track is left out once


def test_too_many_folds_are_refused(tracks: Tracks) -> None:
    train, val = tracks["train"], tracks["val"]
    for folds in (1, 9):
        with pytest.raises(BadInputError, match=f"folds is {folds}: must be from 2 to 8"):
            grouped_folds(train, val, folds)
    both_ways = grouped_folds(train, val, 2)
    assert [track.track for track in both_ways[1].train] == [track.track for track in val]
