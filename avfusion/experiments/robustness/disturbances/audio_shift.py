"""Sound that comes too late or too early."""

from collections.abc import Sequence

import numpy as np


def disturb(
    sound: np.ndarray, seconds: float, random: np.random.Generator, voices: Sequence[np.ndarray], sample_rate: int
) -> np.ndarray:
    """Sound (n,) that comes `seconds` too late (early, if negative), its length kept, silence where none is left."""
    samples = round(abs(seconds) * sample_rate)
    silence = np.zeros(min(samples, len(sound)), sound.dtype)
    kept = len(sound) - len(silence)
    return np.concatenate([silence, sound[:kept]] if seconds > 0 else [sound[len(sound) - kept :], silence])
