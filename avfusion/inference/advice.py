"""What notes and refusals advise, in words that the reader at a door (Python, the command, the server) can follow."""

from typing import NamedTuple


class Advice(NamedTuple):
    """Advice to readers of notes about a video; empty: none.

    Attributes:
        several_people: how to have everybody predicted.
        small_faces: how to look for smaller faces.
    """

    several_people: str = ""
    small_faces: str = ""


IN_PYTHON = Advice('use people="all"', "min_face of Predictor.load lowers it")
