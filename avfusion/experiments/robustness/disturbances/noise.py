"""Noise at a ratio of powers."""

import numpy as np


def add_noise(sound: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Sound (n,) with noise (n,) at a ratio of mean powers over the whole track; silence stays as it is.

    The sum may leave [-1, 1]: it is not clipped, as a recording with more headroom would not be.
    """
    power, noise_power = np.mean(np.square(sound, dtype=np.float64)), np.mean(np.square(noise, dtype=np.float64))
    if power == 0 or noise_power == 0:
        return sound
    gain = np.sqrt(power / noise_power / 10 ** (snr_db / 10))
    return (sound + gain * noise).astype(np.float32)
