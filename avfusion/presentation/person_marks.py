"""By what a person is known in pictures and pages of a video with several people: a colour, a number, a thumbnail."""

import base64

import cv2
import numpy as np

from avfusion.inference.analysis import Person

Colour = tuple[int, int, int]

# Legible on white and on black, neighbours unlike, those of valence and arousal last; then from the beginning again.
COLOURS: tuple[Colour, ...] = (
    *((135, 92, 204), (34, 150, 84), (206, 50, 92), (176, 132, 8), (12, 150, 168), (196, 78, 160)),
    *((124, 138, 40), (150, 92, 62), (92, 112, 140), (220, 90, 70), (31, 119, 208), (226, 106, 14)),
)


def colour_of(person: Person) -> Colour:
    """RGB."""
    return COLOURS[(person.number - 1) % len(COLOURS)]


def thumbnail_of(person: Person, side: int) -> np.ndarray:
    """The thumbnail as (side, side, 3) uint8 RGB; grey without one."""
    image = cv2.imdecode(np.frombuffer(person.thumbnail, np.uint8), cv2.IMREAD_COLOR) if person.thumbnail else None
    if image is None:
        return np.full((side, side, 3), 128, np.uint8)
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(small[..., ::-1])


def thumbnail_uri(person: Person) -> str:
    """The thumbnail as data URI; empty without one."""
    return "data:image/jpeg;base64," + base64.b64encode(person.thumbnail).decode() if person.thumbnail else ""
