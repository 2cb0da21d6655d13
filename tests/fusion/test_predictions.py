from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from avfusion.corpora.table import read_tracks
from avfusion.data.settings import GeometrySettings
from avfusion.data.track_data import TrackData, load_split
from avfusion.fusion import build_fusion
from avfusion.fusion.base import FusionModel
from avfusion.fusion.track_inference import predict_track
from avfusion.scoring.smoothing import smooth

Plant = Callable[..., Path]


def load(root: Path, geometry: GeometrySettings) -> list[TrackData]:
    return load_split(root, read_tracks(root / "data" / "corpus" / "tracks.parquet"), "val", geometry)


@pytest.fixture
def model() -> FusionModel:
    return build_fusion("concat", audio_dim=12, visual_dim=10)


@pytest.mark.parametrize("fps", [25, None])
def test_every_frame_of_24_25_and_30_fps_video_has_a_prediction(
    fps: float | None, plant: Plant, model: FusionModel
) -> None:
    geometry = GeometrySettings(fps=fps)
    root = plant(tracks={"val": 3, "train": 1}, seconds=9, rates=(24.0, 25.0, 30000 / 1001), fps=fps)
    for track, rate in zip(load(root, geometry), (24, 25, 29.97), strict=True):
        found = predict_track(model, track, geometry, 8, "overlap")
        assert found.shape == (round(9 * rate), 2)
        assert np.isfinite(found).all()
        assert np.abs(found).max() <= 1
        assert np.ptp(found[:, 0]) > 0
        # At a clip's end stands the clip's own prediction: nothing is shifted in time.
        ends = np.rint(track.clip_ticks / (fps or rate) * rate).astype(int)
        assert np.abs(track.frame_ticks[ends] - track.clip_ticks).max() <= 0.51


def test_between_clips_predictions_are_interpolated_in_time(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    geometry = GeometrySettings(fps=25)
    (track,) = load(plant(tracks={"val": 1, "train": 1}, seconds=9, rates=(30000 / 1001,)), geometry)
    ramp = np.stack([track.clip_ticks / 25 * 0.1, -track.clip_ticks / 25 * 0.1], axis=1).astype(np.float32)
    monkeypatch.setattr("avfusion.fusion.inference.predict_clips", lambda *a, **k: (ramp, ramp))
    model = build_fusion("concat", audio_dim=12, visual_dim=10)
    found = predict_track(model, track, geometry, 8, "overlap")
    last = track.clip_ticks[-1] / 25
    np.testing.assert_allclose(found[:, 0], np.minimum(track.time_s, last) * 0.1, atol=1e-6)
    np.testing.assert_allclose(found[:, 1], -found[:, 0], atol=1e-6)
    ahead = predict_track(model, track, geometry.model_copy(update={"target_offset": -10}), 8, "overlap")
    shifted = np.clip(track.time_s + 10 / 25, 10 / 25, last) * 0.1
    np.testing.assert_allclose(ahead[10:-20, 0], shifted[10:-20] - 0.0, atol=1e-6)


def test_predictions_are_clipped(plant: Plant, model: FusionModel, monkeypatch: pytest.MonkeyPatch) -> None:
    (track,) = load(plant(tracks={"val": 1, "train": 1}, seconds=9), GeometrySettings(fps=25))
    wild = np.full((len(track.clip_ticks), 2), (3.0, -3.0), np.float32)
    monkeypatch.setattr("avfusion.fusion.inference.predict_clips", lambda *a, **k: (wild, wild))
    found = predict_track(model, track, GeometrySettings(fps=25), 8, "overlap")
    assert (found == (1, -1)).all()


def test_a_track_without_any_stream_is_neutral(plant: Plant, model: FusionModel) -> None:
    (track,) = load(plant(tracks={"val": 1, "train": 1}, seconds=9), GeometrySettings(fps=25))
    track.audio_present[:] = track.visual_present[:] = False
    assert not predict_track(model, track, GeometrySettings(fps=25), 8, "overlap").any()


def test_smoothing_is_a_uniform_mean_that_repeats_the_ends() -> None:
    values = np.random.default_rng(0).normal(size=(50, 2))
    found = smooth(values, (5, 1))
    padded = np.concatenate([np.repeat(values[:1, 0], 2), values[:, 0], np.repeat(values[-1:, 0], 2)])
    np.testing.assert_allclose(found[:, 0], [padded[i : i + 5].mean() for i in range(50)], atol=1e-12)
    np.testing.assert_allclose(found[:, 1], values[:, 1])


def test_smoothing_a_constant_changes_nothing_to_the_last_frame() -> None:
    # Zero padding would pull the ends to zero.
    np.testing.assert_allclose(smooth(np.full((40, 2), 0.7), (20, 50)), 0.7)
    assert smooth(np.zeros((0, 2)), (20, 50)).shape == (0, 2)
