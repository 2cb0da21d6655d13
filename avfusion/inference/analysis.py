"""What a video's prediction consists of: for each person a curve and where the face is."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

MAIN = ""


@dataclass(frozen=True)
class Person:
    """One person in a video of N frames.

    Attributes:
        name: empty for the main person; else `person-2`, `person-3`, …, by how large and how long the face is seen.
        predictions: the columns of `avfusion.Predictor.predict`, N rows.
        boxes: (N, 4) float32: x, y of the face's upper left corner, width, height in pixels of the upright picture
            (after rotation), which it may reach beyond; NaN where there is no face.
    """

    name: str
    predictions: pd.DataFrame
    boxes: np.ndarray


@dataclass(frozen=True)
class Analysis:
    """A video's prediction.

    Attributes:
        video: the file.
        persons: the main person first. There always is one, with boxes of NaN where no face was found.
        width: of the upright picture (after rotation), in pixels.
        height: likewise.
        fps: mean frame rate.
        warnings: what the user should know, in words.
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
