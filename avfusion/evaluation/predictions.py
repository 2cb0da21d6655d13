"""A prediction for every frame of a track, and its smoothing."""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import uniform_filter1d

from avfusion.config import Geometry
from avfusion.data.track_data import TrackData
from avfusion.fusion.base import FusionModel
from avfusion.fusion.inference import Mode, predict_frames


def predict_track(model: FusionModel, track: TrackData, geometry: Geometry, stride: int, mode: Mode) -> np.ndarray:
    """Valence and arousal (N, 2) float32 in [-1, 1] of every video frame, by the package's one inference function.

    A track in which no clip has a stream is predicted neutral (0, 0).
    """
    frames = predict_frames(
        model,
        track.audio,
        track.visual,
        track.audio_present,
        track.visual_present,
        clip_ticks=track.clip_ticks,
        frame_ticks=track.frame_ticks,
        stride=stride,
        clip_frames=geometry.clip_frames,
        mode=mode,
        target_offset=geometry.target_offset,
    )
    return np.zeros_like(frames) if np.isnan(frames).all() else frames


def smooth(predictions: np.ndarray, windows: Sequence[int]) -> np.ndarray:
    """Uniform filter over the frames of one track, one window length per column of `predictions` (N, 2).

    Beyond the ends the first and last values are repeated; there are no zeros to fade into, and labels play no part.
    """
    if len(predictions) == 0:
        return predictions
    columns = [uniform_filter1d(predictions[:, c].astype(np.float64), w, mode="nearest") for c, w in enumerate(windows)]
    return np.stack(columns, axis=1).astype(predictions.dtype)
