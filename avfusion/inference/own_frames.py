"""Which frames of a video are a person's own: those whose predictions are about that person."""

import numpy as np

_TOLERANCE = 1e-3  # of a tick: times of frames are rounded


def own_frames(seen: np.ndarray, others: np.ndarray, positions: np.ndarray, longest_gap: float) -> np.ndarray:
    """Frames (N,) bool in which a person is seen, or missing for a moment while nobody else is seen.

    Args:
        seen: (N,) bool, the frame has the person's face.
        others: (N,) bool, the frame has somebody else's face.
        positions: (N,) ticks of the frames, ascending (`avfusion.data.geometry.frame_positions`).
        longest_gap: greatest distance, in ticks, of two successive frames with the person's face between which frames
            without a face are the person's. With the length of a clip, every clip that ends between them shows the
            person.
    """
    own = np.asarray(seen, bool).copy()
    at = np.flatnonzero(own)
    steps = np.diff(np.asarray(positions, np.float64)[at])
    for gap in np.flatnonzero((np.diff(at) > 1) & (steps <= longest_gap + _TOLERANCE)):
        between = slice(at[gap] + 1, at[gap + 1])
        own[between] = not others[between].any()
    return own
