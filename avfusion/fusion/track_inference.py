"""Predict every frame of a track."""

import numpy as np

from avfusion.data.settings import GeometrySettings
from avfusion.data.track_data import TrackData
from avfusion.fusion.base import FusionModel
from avfusion.fusion.inference import Mode, predict_frames


def predict_track(
    model: FusionModel, track: TrackData, geometry: GeometrySettings, stride: int, mode: Mode
) -> np.ndarray:
    """Valence and arousal (N, 2) float32 in [-1, 1] of every video frame, by the package's one inference function.

    A track whose clips have no stream is predicted neutral, (0, 0).

    Raises:
        NotFiniteError: the model gives NaN or infinity.
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
