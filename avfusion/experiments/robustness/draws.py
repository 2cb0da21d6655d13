"""What is drawn for a track, whatever other tracks there are."""

import zlib

import numpy as np


def track_random(seed: int, track: str) -> np.random.Generator:
    """Random numbers of a track."""
    return np.random.default_rng([seed, zlib.crc32(track.encode())])
