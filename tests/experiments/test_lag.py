"""The lag of labels, planted and found again."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avfusion.corpora.table import read_tracks
from avfusion.data.settings import GeometrySettings
from avfusion.data.track_data import TrackData, load_split
from avfusion.experiments.lag import Lag, estimate_lags
from avfusion.runtime.errors import BadInputError

CLIP = 32


@pytest.fixture
def tracks(plant: Callable[..., Path]) -> list[TrackData]:
    """Twelve tracks whose features hold the labels of the clips' last frames."""
    root = plant(tracks={"train": 12, "val": 1}, seconds=40, rates=(25.0, 30.0), noise=0.5)
    return load_split(root, read_tracks(root / "data/corpus/tracks.parquet"), "train", GeometrySettings(fps=25))


def later(track: TrackData, seconds: tuple[float, float]) -> TrackData:
    """The track with labels that come later, each target's by its own time."""
    shifted = [
        np.interp(track.time_s - lag, track.time_s, track.labels[:, c], left=np.nan, right=np.nan)
        for c, lag in enumerate(seconds)
    ]
    labels = np.stack(shifted, axis=1).astype(np.float32)
    return replace(track, labels=labels, valid=track.valid & np.isfinite(labels).all(axis=1))


def found(tracks: list[TrackData], *lags: float) -> dict[str, Lag]:
    return estimate_lags([later(track, (lags[0], lags[1])) for track in tracks], CLIP)


@pytest.mark.parametrize("lags", [(0.0, 0.0), (1.0, 2.5), (-0.6, 0.4)])
def test_a_planted_lag_is_found_for_each_target(tracks: list[TrackData], lags: tuple[float, float]) -> None:
    # These features are of a clip's last frame, half a clip after the middle to which a lag is told.
    half = (CLIP - 1) / 2 / 25
    for lag, (name, one) in zip(lags, found(tracks, *lags).items(), strict=True):
        assert one.seconds == pytest.approx(lag + half, abs=0.12), name
        assert one.low < one.seconds < one.high  # type: ignore[operator]
        assert one.high - one.low < 0.5  # type: ignore[operator]
        assert one.groups == 12


def test_features_that_say_nothing_give_no_lag(tracks: list[TrackData]) -> None:
    rng = np.random.default_rng(0)
    deaf = [replace(t, audio=rng.normal(size=t.audio.shape), visual=rng.normal(size=t.visual.shape)) for t in tracks]
    for one in estimate_lags(deaf, CLIP).values():
        assert (one.seconds, one.low, one.high) == (None, None, None)


def test_few_groups_give_no_lag(tracks: list[TrackData]) -> None:
    together = [replace(track, group=f"group {number % 7}") for number, track in enumerate(tracks)]
    with pytest.raises(BadInputError, match=r"needs 8 groups of training videos with labels .*, and there are 7"):
        estimate_lags(together, CLIP)
