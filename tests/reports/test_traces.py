"""Pictures of single tracks."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from avfusion.corpora.notes import DRAWN
from avfusion.reports.plots.traces import plot_track
from avfusion.scoring.track_predictions import TrackPredictions


@pytest.mark.parametrize("notes", [(), (DRAWN,)])
def test_what_readers_must_know_of_the_model_stands_in_the_corner(notes: tuple[str, ...], tmp_path: Path) -> None:
    seen, values = np.ones(50, bool), np.zeros((50, 2), np.float32)
    track = TrackPredictions(
        "a", "a", "test", np.arange(50) / 25, values, seen, np.stack([seen, seen], axis=1), {"jca": values}
    )
    plot_track(tmp_path / "a.png", track, "jca", (5, 5), notes)
    picture = cv2.imread(str(tmp_path / "a.png")).astype(int)
    corner = picture[-30:, picture.shape[1] // 2 :]
    assert (np.abs(corner - (11, 47, 140)).max(axis=2) < 60).any() == bool(notes)
