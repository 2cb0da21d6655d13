"""Predictions of one video in a few numbers."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

QUADRANTS = {
    "unpleasant, excited": (False, True),
    "pleasant, excited": (True, True),
    "unpleasant, calm": (False, False),
    "pleasant, calm": (True, False),
}


def frame_lengths(time_s: np.ndarray) -> np.ndarray:
    """Duration of each frame in seconds, (N,); the usual duration for the last."""
    steps = np.diff(time_s)
    return np.append(steps, np.median(steps) if len(steps) else 1.0)


def video_statistics(predictions: "pd.DataFrame") -> dict[str, Any]:
    """Summarise the predictions of one person in a video (the CSV's columns), over the frames that have values.

    Returns:
        `valence` and `arousal`: `mean` and `sd` (frames weighted by duration), `low` and `high` and their times
            (`low_s`, `high_s`); `quadrants`: share of time in each of `QUADRANTS`, with 0 as pleasant or excited;
            `frames`: of the video; `own_frames`: with values; `face_frames`: with a face; `face`, `sound`: share of the
            frames with values whose clip has a face, or sound. All but the numbers of frames are NaN without values.
    """
    own = predictions["valence"].notna().to_numpy()
    weights = frame_lengths(predictions["time_s"].to_numpy(float))[own]
    found: dict[str, Any] = {
        "frames": len(predictions),
        "own_frames": int(own.sum()),
        "face_frames": int((predictions["face_confidence"] > 0).sum()),
    }
    if not own.any():
        nothing = dict.fromkeys(("mean", "sd", "low", "high", "low_s", "high_s"), np.nan)
        shares = {"quadrants": dict.fromkeys(QUADRANTS, np.nan), "face": np.nan, "sound": np.nan}
        return found | {"valence": nothing, "arousal": nothing} | shares
    weights = weights / weights.sum()
    predictions = predictions[own]
    time_s = predictions["time_s"].to_numpy(float)
    for name in ("valence", "arousal"):
        values = predictions[name].to_numpy(float)
        mean = float(values @ weights)
        low, high = int(np.argmin(values)), int(np.argmax(values))
        found[name] = {
            "mean": mean,
            "sd": float(np.sqrt((values - mean) ** 2 @ weights)),
            "low": float(values[low]),
            "high": float(values[high]),
            "low_s": float(time_s[low]),
            "high_s": float(time_s[high]),
        }
    pleasant, excited = (predictions[name].to_numpy(float) >= 0 for name in ("valence", "arousal"))
    found["quadrants"] = {
        name: float(weights[(pleasant == right) & (excited == above)].sum())
        for name, (right, above) in QUADRANTS.items()
    }
    found["face"] = float(predictions["visual_present"].mean())
    found["sound"] = float(predictions["audio_present"].mean())
    return found
