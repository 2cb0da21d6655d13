"""Presence of a frame: of the clip that ends at that very frame, not of the last one on the grid of the stride."""

import numpy as np
import pytest

from avfusion.data.feature_spec import AudioTransform, BackboneIdentity, ClipGeometry, FeatureSpec, VisualTransform
from avfusion.data.presence import frame_presence

BACKBONE = BackboneIdentity(name="any", width=4, input_size=32, feature_dim=4, sha256="0" * 64)


def spec(fps: float | None = None, window_s: float | None = None, stride: int = 8) -> FeatureSpec:
    return FeatureSpec(
        geometry=ClipGeometry(fps=fps),
        stride=stride,
        audio=AudioTransform(window_s=window_s),
        visual=VisualTransform(),
        backbones={"audio": BACKBONE, "visual": BACKBONE},
    )


@pytest.mark.parametrize("stride", [1, 8, 32])
def test_by_hand(stride: int) -> None:
    time_s = np.arange(100) / 25
    face = np.zeros(100, bool)
    face[[10, 60]] = True
    samples = 44100  # of the first second: clips whose first frame is the 26th (0-based 25) hear nothing
    found = frame_presence(time_s, face, samples, spec(stride=stride))
    frames = np.arange(100)
    assert np.flatnonzero(found[:, 0]).tolist() == frames[frames - 31 < 25].tolist()
    seen = ((frames >= 10) & (frames < 42)) | ((frames >= 60) & (frames < 92))
    assert np.flatnonzero(found[:, 1]).tolist() == np.flatnonzero(seen).tolist()


def test_a_window_in_seconds_decides_what_is_heard() -> None:
    found = frame_presence(np.arange(100) / 25, np.ones(100, bool), 44100, spec(window_s=0.4))
    assert np.flatnonzero(found[:, 0]).tolist() == list(range(35))


def test_a_clock_of_its_own_counts_its_ticks() -> None:
    time_s = np.arange(240) / 50  # two frames a tick
    face = np.zeros(240, bool)
    face[20:22] = True
    seen = frame_presence(time_s, face, 0, spec(fps=25))
    assert not seen[:, 0].any()
    ticks = np.clip(np.round(time_s * 25), 0, 119)
    assert np.array_equal(seen[:, 1], (ticks >= 10) & (ticks < 42))


def test_no_frames_and_no_streams() -> None:
    assert frame_presence(np.zeros(0), np.zeros(0, bool), 0, spec(fps=25)).shape == (0, 2)
    assert not frame_presence(np.arange(40) / 25, np.zeros(40, bool), 0, spec()).any()
