"""WAV files of this project: mono, 44.1 kHz, 16-bit PCM."""

import os
from collections.abc import Iterable

import numpy as np
import soundfile

SAMPLE_RATE = 44100


def write_wav(path: str | os.PathLike[str], blocks: Iterable[np.ndarray], *, comment: str = "") -> None:
    """Write blocks of (n,) float samples in [-1, 1] at 44.1 kHz, as they come; louder ones are clipped.

    The comment goes into the header, before the samples.
    """
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, subtype="PCM_16", format="WAV") as stream:
        if comment:
            stream.comment = comment
        for block in blocks:
            stream.write(pcm16(block))


def pcm16(samples: np.ndarray) -> np.ndarray:
    """Samples in [-1, 1] as 16-bit integers; louder ones are clipped."""
    scaled = np.asarray(samples, np.float32) * np.float32(32768.0)
    return np.clip(np.rint(scaled, out=scaled), -32768, 32767, out=scaled).astype(np.int16)
