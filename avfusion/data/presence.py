"""The presence of streams behind a video frame's prediction, and the frames that networks see.

Shared by `evaluate` and `predict`.
"""

import numpy as np

from avfusion.data.feature_spec import FeatureSpec
from avfusion.data.geometry import (
    clip_end_ticks,
    clip_sound_spans,
    clock_frames,
    frame_positions,
    select_clip_frames,
)


def frame_presence(time_s: np.ndarray, face_present: np.ndarray, samples: int, spec: FeatureSpec) -> np.ndarray:
    """Presence (N, 2) bool of audio and visual stream in the clip that ends at each video frame.

    It equals the presence that extraction finds for that clip, also between the clip ends of the spec's stride.

    Args:
        time_s: (N,) seconds of every video frame, 0 at the first.
        face_present: (N,) bool, the frame has a face crop.
        samples: length of the sound from the time of the first frame on, at the spec's rate; 0: no sound.
        spec: how clips and their sound are cut.
    """
    geometry = spec.geometry
    time_s = np.asarray(time_s, dtype=np.float64)
    clock = clock_frames(time_s, geometry.fps)
    if not len(clock):
        return np.zeros((0, 2), dtype=bool)
    ticks = np.arange(len(clock))
    face = np.asarray(face_present, dtype=bool)[clock]
    _, seen = select_clip_frames(face, ticks, spec.shown.clip_frames, spec.shown.kept_frames)
    spans = clip_sound_spans(
        time_s[clock],
        ticks,
        clip_frames=geometry.clip_frames,
        sample_rate=spec.audio.sample_rate,
        window_s=spec.audio.window_s,
    )
    heard = spans[:, 0] < samples
    nearest = np.clip(np.round(frame_positions(time_s, geometry.fps)).astype(int), 0, len(clock) - 1)
    return np.stack([heard[nearest], seen[nearest]], axis=1)


def shown_frames(time_s: np.ndarray, face_present: np.ndarray, spec: FeatureSpec) -> np.ndarray:
    """Video frames (N,) bool whose crops are in a clip, the only ones that extraction reads.

    Args:
        time_s: (N,) seconds of every video frame, 0 at the first.
        face_present: (N,) bool, the frame has a face crop.
        spec: geometry and stride of the clips.
    """
    geometry = spec.shown
    clock = clock_frames(np.asarray(time_s, dtype=np.float64), geometry.fps)
    shown = np.zeros(len(time_s), dtype=bool)
    if len(clock):
        face, ends = np.asarray(face_present, dtype=bool)[clock], clip_end_ticks(len(clock), spec.stride)
        ticks, present = select_clip_frames(face, ends, geometry.clip_frames, geometry.kept_frames)
        shown[clock[ticks[present]]] = True
    return shown
