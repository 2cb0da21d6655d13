"""WAV files of this project: mono, 44.1 kHz, 16-bit PCM."""

import hashlib
import os
import struct
from collections.abc import Callable, Iterable

import numpy as np
import soundfile

SAMPLE_RATE = 44100


def write_wav(
    path: str | os.PathLike[str], blocks: Iterable[np.ndarray], *, comment: Callable[[str], str] | None = None
) -> None:
    """Write blocks of (n,) samples at 44.1 kHz, as they come.

    Args:
        blocks: 16-bit integers, or floats in [-1, 1]; louder samples are clipped.
        comment: Makes the comment, written after the samples, from their digest.
    """
    content = hashlib.sha256()
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, subtype="PCM_16", format="WAV") as stream:
        for block in blocks:
            samples = block if block.dtype == np.int16 else pcm16(block)
            content.update(np.ascontiguousarray(samples).data)
            stream.write(samples)
        if comment:
            stream.comment = comment(content.hexdigest()[:32])


def pcm16(samples: np.ndarray) -> np.ndarray:
    """Samples in [-1, 1] as 16-bit integers; louder samples are clipped."""
    scaled = np.asarray(samples, np.float32) * np.float32(32768.0)
    return np.clip(np.rint(scaled, out=scaled), -32768, 32767, out=scaled).astype(np.int16)


def read_comment(path: str | os.PathLike[str]) -> bytes:
    """The comment of a WAV file, of any length (libsndfile reads only 2 kB); empty if there is none.

    Raises:
        ValueError: it is not a WAV file.
    """
    with open(path, "rb") as file:
        riff, _, kind = struct.unpack("<4sI4s", file.read(12).ljust(12, b"\0"))
        if (riff, kind) != (b"RIFF", b"WAVE"):
            raise ValueError(f"{path} is not a WAV file")
        while len(head := file.read(8)) == 8:
            name, size = struct.unpack("<4sI", head)
            if name == b"LIST":
                chunk = file.read(size)
                if chunk[:8] == b"INFOICMT":
                    return chunk[12 : 12 + int.from_bytes(chunk[8:12], "little")].rstrip(b"\0")
            else:
                file.seek(size + size % 2, os.SEEK_CUR)
    return b""
