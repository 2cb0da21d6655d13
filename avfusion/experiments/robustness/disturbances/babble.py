"""The voices of other videos over the sound."""

from collections.abc import Sequence

import numpy as np

from avfusion.experiments.robustness.disturbances.noise import add_noise


def disturb(
    sound: np.ndarray, snr_db: float, random: np.random.Generator, voices: Sequence[np.ndarray], sample_rate: int
) -> np.ndarray:
    """Sound (n,) with all voices at once, at a signal-to-noise ratio in dB."""
    return add_noise(sound, babble(voices, len(sound)), snr_db)


def babble(voices: Sequence[np.ndarray], samples: int) -> np.ndarray:
    """Voices at once, each brought to the same power and repeated to the length: (samples,) float32."""
    total = np.zeros(samples)
    for voice in voices:
        power = np.sqrt(np.mean(np.square(voice, dtype=np.float64))) if len(voice) else 0.0
        if power > 0:
            total += np.resize(voice, samples) / power
    return total.astype(np.float32)
