"""Predict every frame of a track."""

import numpy as np

from avfusion.data.settings import GeometrySettings
from avfusion.data.track_data import TrackData
from avfusion.fusion.base import FusionModel
from avfusion.fusion.inference import Mode, predict_frames
from avfusion.fusion.reading import Reading, reading_of


def track_reading(model: FusionModel, track: TrackData, geometry: GeometrySettings, stride: int) -> Reading:
    """Which sequences a model reads from the features of a track."""
    layout = track.feature_spec.layout if track.feature_spec else "clips"
    return reading_of(model.name, model.options if layout == "frames" else {}, geometry, stride, layout)


def predict_track(
    model: FusionModel, track: TrackData, geometry: GeometrySettings, stride: int, mode: Mode
) -> np.ndarray:
    """Valence and arousal (N, 2) float32 in [-1, 1] of every video frame, by the package's one inference function.

    A track whose clips have no stream is predicted neutral, (0, 0).

    Raises:
        NotFiniteError: the model gives NaN or infinity.
    """
    reading = track_reading(model, track, geometry, stride)
    frames = predict_frames(
        model,
        track.audio,
        track.visual,
        track.audio_present,
        track.visual_present,
        clip_ticks=track.clip_ticks,
        frame_ticks=track.frame_ticks,
        stride=stride,
        spacing=reading.spacing,
        hop=reading.hop,
        mode=mode,
        target_offset=geometry.target_offset,
    )
    return np.zeros_like(frames) if np.isnan(frames).all() else frames
