"""What is done to sound, to face crops and to the presence of a stream."""

from collections.abc import Sequence

import cv2
import numpy as np

GREY = 128  # of an occluding block


def absent_span(clips: int, share: float, place: float) -> np.ndarray:
    """(T,) bool, one contiguous span of `share` of the clips; `place` in [0, 1]: from the first to the last possible.

    At one place, a larger share holds the clips of a smaller one (but for rounding).
    """
    length = round(share * clips)
    start = round(place * (clips - length))
    return (np.arange(clips) >= start) & (np.arange(clips) < start + length)


def add_noise(sound: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Sound (n,) with noise (n,) at a ratio of mean powers over the whole track; silence stays as it is.

    The sum may leave [-1, 1]: it is not clipped, as a recording with more headroom would not be.
    """
    power, noise_power = np.mean(np.square(sound, dtype=np.float64)), np.mean(np.square(noise, dtype=np.float64))
    if power == 0 or noise_power == 0:
        return sound
    gain = np.sqrt(power / noise_power / 10 ** (snr_db / 10))
    return (sound + gain * noise).astype(np.float32)


def babble(voices: Sequence[np.ndarray], samples: int) -> np.ndarray:
    """Voices at once, each brought to the same power and repeated to the length: (samples,) float32."""
    total = np.zeros(samples)
    for voice in voices:
        power = np.sqrt(np.mean(np.square(voice, dtype=np.float64))) if len(voice) else 0.0
        if power > 0:
            total += np.resize(voice, samples) / power
    return total.astype(np.float32)


def shift_sound(sound: np.ndarray, seconds: float, sample_rate: int) -> np.ndarray:
    """Sound (n,) that comes `seconds` too late (early, if negative), its length kept, silence where none is left."""
    samples = round(abs(seconds) * sample_rate)
    silence = np.zeros(min(samples, len(sound)), sound.dtype)
    kept = len(sound) - len(silence)
    return np.concatenate([silence, sound[:kept]] if seconds > 0 else [sound[len(sound) - kept :], silence])


def occlude(crop: np.ndarray, share: float, place: tuple[float, float]) -> np.ndarray:
    """RGB crop (H, W, 3) with a grey square over `share` of it; `place` in [0, 1]²: from the upper left corner on."""
    height, width = crop.shape[:2]
    side = round(np.sqrt(share * height * width))
    top, left = (round(part * (size - side)) for part, size in zip(place, (height, width), strict=True))
    covered = crop.copy()
    covered[top : top + side, left : left + side] = GREY
    return covered


def blur(crop: np.ndarray, sigma: float) -> np.ndarray:
    """RGB crop under a Gaussian of `sigma` pixels."""
    return np.asarray(cv2.GaussianBlur(crop, (0, 0), sigma))
