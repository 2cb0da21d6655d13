"""WAV files of this project: mono, 44.1 kHz, 16-bit PCM."""

import os

import numpy as np
import soundfile

SAMPLE_RATE = 44100


def write_wav(path: str | os.PathLike[str], samples: np.ndarray, *, comment: str = "") -> None:
    """Write (n,) float samples in [-1, 1] at 44.1 kHz; louder ones are clipped. The comment goes into the header."""
    pcm = np.clip(np.rint(np.asarray(samples, np.float64) * 32768.0), -32768, 32767).astype(np.int16)
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, subtype="PCM_16", format="WAV") as stream:
        if comment:
            stream.comment = comment
        stream.write(pcm)
