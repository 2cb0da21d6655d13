"""White noise over the sound."""

from collections.abc import Sequence

import numpy as np

from avfusion.experiments.robustness.disturbances.noise import add_noise


def disturb(
    sound: np.ndarray, snr_db: float, random: np.random.Generator, voices: Sequence[np.ndarray], sample_rate: int
) -> np.ndarray:
    """Sound (n,) with white noise drawn from `random`, at a signal-to-noise ratio in dB."""
    return add_noise(sound, random.standard_normal(len(sound)).astype(np.float32), snr_db)
