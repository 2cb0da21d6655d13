"""The parts of an overlay that show several people: a legend with their current values above, and a common panel."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from avfusion.inference.analysis import Person
from avfusion.presentation.overlay_panel import GROUND, TARGETS, WORDS, Layout, Panel, signed
from avfusion.presentation.person_marks import Colour, colour_of, thumbnail_of

WHITE: Colour = (255, 255, 255)
_CELL, _HIGH, _FACE = 118, 44, 36  # width and height of a legend's cell, and of the thumbnail in it, in units
_ABSENT = 0.35  # brightness of somebody who has no value


class PeoplePanel(Panel):
    """As `Panel`, with a curve, a point and a trail for each person, in that person's colour."""

    def __init__(self, layout: Layout, persons: Sequence[Person]) -> None:
        """Take at least one person."""
        self._colours = [colour_of(person) for person in persons]
        self._people = [{name: p.predictions[name].to_numpy(float) for name in TARGETS} for p in persons]
        super().__init__(layout, persons[0].predictions)
        seen = [person.predictions["visual_present"].to_numpy(bool) for person in persons]
        self._present["visual_present"] = np.logical_or.reduce(seen)

    def draw(self, image: np.ndarray, index: int) -> None:
        """Fill `image` (the panel's part of the canvas, RGB) for the frame with this 0-based index."""
        image[:] = self._ground
        for values, colour in zip(self._people, self._colours, strict=True):
            self._draw_trail(image, index, values, colour)
        for name in TARGETS:
            for values, colour in zip(self._people, self._colours, strict=True):
                self._draw_curve(image, index, name, values[name], colour)
        self._draw_foot(image, index)


class Legend:
    """A strip above the canvas with a cell per person: thumbnail, number, current values."""

    def __init__(self, layout: Layout, persons: Sequence[Person]) -> None:
        """Plan as many rows as the persons need."""
        self._u = layout.unit
        width = layout.size[0]
        self._columns = max(1, min(len(persons), int(width // (_CELL * self._u))))
        rows = -(-len(persons) // self._columns)
        self.size = width, 2 * round(rows * _HIGH * self._u / 2) + 2 * round(2 * self._u)
        self._cell = width / self._columns
        self._font = cv2.FontFace("sans")
        side = round(_FACE * self._u)
        self._faces = [thumbnail_of(person, side) for person in persons]
        self._people: list[tuple[str, Colour, Any, Any]] = [
            (str(p.number), colour_of(p), *(p.predictions[name].to_numpy(float) for name in TARGETS)) for p in persons
        ]

    def draw(self, image: np.ndarray, index: int) -> None:
        """Fill `image` (the strip, RGB) for the frame with this 0-based index."""
        image[:] = GROUND
        u = self._u
        for place, (number, colour, valence, arousal) in enumerate(self._people):
            row, column = divmod(place, self._columns)
            left, top = round(column * self._cell + 6 * u), round(row * _HIGH * u + 5 * u)
            face = self._faces[place]
            side, known = len(face), bool(np.isfinite(valence[index]))
            shown = face if known else (_ABSENT * face).astype(np.uint8)
            image[top : top + side, left : left + side] = shown[: image.shape[0] - top, : image.shape[1] - left]
            edge = max(2, round(2 * u))
            cv2.rectangle(image, (left, top), (left + side - 1, top + side - 1), colour, edge)
            size = max(9, round(12 * u))
            wide = draw_tag(
                image, number, (left + side + round(4 * u), top + (side - tag_height(size)) // 2), colour, size
            )
            for line, (value, paint) in enumerate(zip((valence[index], arousal[index]), TARGETS.values(), strict=True)):
                at = (left + side + wide + round(9 * u), top + round((14 + 17 * line) * u))
                size = max(8, round(14 * u))
                cv2.putText(image, signed(value), at, paint if known else WORDS, self._font, size, 500)


def tag_height(size: int) -> int:
    """Height in pixels of a tag with letters of this size."""
    return round(1.35 * size)


def draw_tag(image: np.ndarray, text: str, at: tuple[int, int], colour: Colour, size: int) -> int:
    """Draw a number on a filled ground, its upper left corner at `at`; returns its width."""
    left, top = at
    font = cv2.FontFace("sans")
    _, _, width, _ = cv2.getTextSize(image.shape[1::-1], text, (0, 0), font, size, 700)
    high, wide = tag_height(size), width + round(0.8 * size)
    cv2.rectangle(image, (left, top), (left + wide, top + high), colour, -1)
    cv2.putText(image, text, (left + round(0.4 * size), top + round(1.02 * size)), WHITE, font, size, 700)
    return wide
