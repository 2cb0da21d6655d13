"""The audio store: data/audio/<video>.wav, mono 44.1 kHz 16-bit PCM, sample 0 at the time of frame 1."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soundfile

from avfusion.errors import AVFusionError
from avfusion.media.wav import SAMPLE_RATE, write_wav


def write_audio(path: str | Path, samples: np.ndarray | Iterable[np.ndarray], fingerprint: str) -> None:
    """Write (n,) samples in [-1, 1], or blocks of them as they come; the fingerprint goes into the WAV's comment."""
    write_wav(path, [samples] if isinstance(samples, np.ndarray) else samples, comment=fingerprint)


def read_audio(path: str | Path) -> np.ndarray:
    """Read (n,) float32 samples in [-1, 1), at 44.1 kHz.

    Raises:
        AVFusionError: the file is missing, damaged, or not mono 44.1 kHz.
    """
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise AVFusionError(f"{path} cannot be read as WAV ({error}): run the stage `audio`") from None
    if rate != SAMPLE_RATE or samples.shape[1] != 1:
        raise AVFusionError(f"{path} has {samples.shape[1]} channels at {rate} Hz, mono at {SAMPLE_RATE} Hz is needed")
    return samples[:, 0]


def audio_samples(path: str | Path) -> int:
    """The number of samples in a WAV, from its header alone; 0 where there is no file (a video without sound).

    Raises:
        AVFusionError: the file is damaged.
    """
    if not Path(path).is_file():
        return 0
    try:
        return int(soundfile.info(str(path)).frames)
    except (soundfile.LibsndfileError, OSError) as error:
        raise AVFusionError(f"{path} cannot be read as WAV ({error}): run the stage `audio`") from None


def read_fingerprint(path: str | Path) -> str | None:
    """The fingerprint inside a WAV, None without one."""
    with soundfile.SoundFile(path) as stream:
        return stream.comment or None
