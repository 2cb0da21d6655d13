"""A prediction for every frame of a track, and its smoothing."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.ndimage import uniform_filter1d

from avfusion.config import Geometry
from avfusion.data.geometry import interpolate_to_frames
from avfusion.data.track_data import TrackData
from avfusion.fusion.base import FusionModel
from avfusion.fusion.inference import Mode, predict_clips


def predict_frames(model: FusionModel, track: TrackData, geometry: Geometry, stride: int, mode: Mode) -> np.ndarray:
    """Valence and arousal (N, 2) float32 in [-1, 1] of every video frame, by the package's one inference function.

    Between clip ends predictions are interpolated linearly, outside they are held. A track in which no clip has a
    stream is predicted neutral (0, 0).
    """
    device = next(model.parameters()).device
    clips, _ = predict_clips(
        model,
        *(torch.from_numpy(array).to(device) for array in (track.audio, track.visual)),
        *(torch.from_numpy(array).to(device) for array in (track.audio_present, track.visual_present)),
        stride=stride,
        clip_frames=geometry.clip_frames,
        mode=mode,
    )
    if len(clips) == 0 or np.isnan(clips).all():
        return np.zeros((len(track.time_s), 2), np.float32)
    frames = interpolate_to_frames(clips, track.clip_ticks, track.frame_ticks, geometry.target_offset)
    return np.clip(frames, -1, 1).astype(np.float32)


def smooth(predictions: np.ndarray, windows: Sequence[int]) -> np.ndarray:
    """Uniform filter over the frames of one track, one window length per column of `predictions` (N, 2).

    Beyond the ends the first and last values are repeated; there are no zeros to fade into, and labels play no part.
    """
    if len(predictions) == 0:
        return predictions
    columns = [uniform_filter1d(predictions[:, c].astype(np.float64), w, mode="nearest") for c, w in enumerate(windows)]
    return np.stack(columns, axis=1).astype(predictions.dtype)


def frame_presence(track: TrackData) -> np.ndarray:
    """Presence (N, 2) bool of audio and visual stream at every frame: of the last clip that has ended by then."""
    at = np.searchsorted(track.clip_ticks, track.frame_ticks + 1e-6, side="right") - 1
    at = np.clip(at, 0, len(track.clip_ticks) - 1)
    return np.stack([track.audio_present[at], track.visual_present[at]], axis=1)
