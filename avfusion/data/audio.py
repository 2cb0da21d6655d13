"""The audio store: data/audio/<video>.wav, mono 44.1 kHz 16-bit PCM, sample 0 at the time of frame 1."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np
import soundfile

from avfusion.media.wav import SAMPLE_RATE, read_comment, write_wav
from avfusion.runtime.errors import AVFusionError
from avfusion.runtime.stamps import UNSTAMPED, Stamp

_BLOCK = 1 << 16  # samples


def write_audio(path: str | Path, samples: np.ndarray | Iterable[np.ndarray], wanted: Stamp = UNSTAMPED) -> None:
    """Write (n,) samples in [-1, 1], at once or in blocks; the stamp is the WAV's comment."""
    blocks = [samples] if isinstance(samples, np.ndarray) else samples
    write_wav(path, blocks, comment=lambda content: wanted.completed(content).to_json())


def read_audio(path: str | Path) -> np.ndarray:
    """Read (n,) float32 samples in [-1, 1), at 44.1 kHz.

    Raises:
        AVFusionError: the file is missing, damaged, or not mono 44.1 kHz.
    """
    with _wav_errors(path):
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    _check_format(path, rate, samples.shape[1])
    return samples[:, 0]


class Sound(Protocol):
    """Mono sound that can be cut: an array of floats in [-1, 1] or of 16-bit integers, or an `AudioFile`."""

    def __len__(self) -> int:
        """Samples."""

    def __getitem__(self, piece: slice, /) -> np.ndarray:
        """Samples (n,) of a slice."""


def cut_sound(sound: Sound, start: int, stop: int, *, min_samples: int) -> np.ndarray:
    """Samples [start, stop) as float32; zero-padded after the sound's end, and on the left up to `min_samples`."""
    piece = sound[start:stop].astype(np.float32)
    right = (stop - start) - len(piece)
    return np.pad(piece, (max(min_samples - (stop - start), 0), right))


class AudioFile:
    """A WAV of the store as (n,) int16, read in pieces by `sound[start:stop]`, without keeping any in memory.

    Raises:
        AVFusionError: as `read_audio`, also on reading a piece.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = path
        with _wav_errors(path):
            self._file = soundfile.SoundFile(path)
        _check_format(path, self._file.samplerate, self._file.channels)

    def __len__(self) -> int:
        return int(self._file.frames)

    def __getitem__(self, piece: slice, /) -> np.ndarray:
        start, stop, _ = piece.indices(len(self))
        with _wav_errors(self._path):
            self._file.seek(start)
            samples: np.ndarray = self._file.read(max(stop - start, 0), dtype="int16")
        return samples

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def audio_samples(path: str | Path) -> int:
    """The number of samples in a WAV, from its header alone; 0 without a file (a video without sound).

    Raises:
        AVFusionError: the file is damaged.
    """
    if not Path(path).is_file():
        return 0
    with _wav_errors(path):
        return int(soundfile.info(str(path)).frames)


def read_stamp(path: str | Path) -> Stamp | None:
    """The stamp of a WAV, None without one."""
    comment = read_comment(path)
    return Stamp.from_json(comment) if comment else None


def restamp(source: Path, target: Path, stamp: Stamp) -> None:
    """Copy a WAV with another stamp, a piece at a time."""
    with AudioFile(source) as sound:
        pieces = (sound[start : start + _BLOCK] for start in range(0, len(sound), _BLOCK))
        write_wav(target, pieces, comment=lambda _: stamp.to_json())


@contextmanager
def _wav_errors(path: str | Path) -> Iterator[None]:
    try:
        yield
    except (soundfile.LibsndfileError, OSError) as error:
        raise AVFusionError(f"{path} cannot be read as WAV ({error}): run the stage `audio`") from None


def _check_format(path: str | Path, rate: int, channels: int) -> None:
    if rate != SAMPLE_RATE or channels != 1:
        raise AVFusionError(f"{path} has {channels} channels at {rate} Hz, must be mono at {SAMPLE_RATE} Hz")
