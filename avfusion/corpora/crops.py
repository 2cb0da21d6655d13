"""Folders of face crops: one image per video frame, named by the frame's number, counted from 1."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from avfusion.corpora.layout import is_litter

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class CropListing:
    """The crops of one track.

    Attributes:
        files: Video frame (from 1) to image file, in the order of frames.
        strays: Names that are no frame number, or no image.
        repeated: Images of a frame that has one already (the earlier folder wins).
    """

    files: dict[int, Path] = field(default_factory=dict)
    strays: tuple[str, ...] = ()
    repeated: int = 0


def list_crops(folders: Iterable[Path]) -> CropListing:
    """List and merge crop folders without opening an image; litter of operating systems is passed over."""
    found: dict[int, Path] = {}
    strays, repeated = [], 0
    for folder in folders:
        for name in sorted(os.listdir(folder)):
            if is_litter(name):
                continue
            stem, suffix = os.path.splitext(name)
            number = int(stem) if stem.isascii() and stem.isdigit() and len(stem) < 10 else 0
            if number < 1 or suffix.lower() not in IMAGE_SUFFIXES:
                strays.append(name)
            elif number in found:
                repeated += 1
            else:
                found[number] = folder / name
    return CropListing(dict(sorted(found.items())), tuple(strays), repeated)
