"""The prediction of a video: for each person the predictions and the face's boxes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

MAIN = ""


@dataclass(frozen=True)
class Person:
    """One person in a video of N frames.

    Attributes:
        name: empty for the main person; else `person-2`, `person-3`, …, by size and time in view of the face.
        predictions: the columns of `avfusion.Predictor.predict`, N rows; where everybody was asked for, values are NaN
            in frames that are not the person's own; in all frames if no clip has the face, and there is no sound.
        boxes: (N, 4) float32: x, y of the face's upper left corner, width, height in pixels of the upright picture
            (after rotation), possibly beyond its edges; NaN where there is no face.
        thumbnail: JPEG of the face, aligned, where it is clearest; empty without a face.
    """

    name: str
    predictions: pd.DataFrame
    boxes: np.ndarray
    thumbnail: bytes = b""

    @property
    def number(self) -> int:
        """1 for the main person, else the number in the name."""
        return int(self.name.rpartition("-")[2] or 1)


@dataclass(frozen=True)
class Analysis:
    """The prediction of a video.

    Attributes:
        persons: the main person first; always at least one, with boxes of NaN if no face was found.
        width, height: of the upright picture; 0 of a file with sound alone.
    """

    video: Path
    persons: tuple[Person, ...]
    width: int
    height: int
    fps: float
    warnings: tuple[str, ...]


def person_names(number: int) -> list[str]:
    """Names of the persons of a video, the main person first."""
    return [MAIN, *(f"person-{place}" for place in range(2, number + 1))][:number]
