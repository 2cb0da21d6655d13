"""Folders of face crops: one image per video frame, named by the frame's number, counted from 1."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from avfusion.corpora.layout import is_litter

CROP_NAME = re.compile(r"(\d{1,9})\.(?:jpe?g|png)", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class CropListing:
    """The crops of one track.

    Attributes:
        files: Video frame (from 1) to image file, in the order of frames; plain strings, since there are millions.
        strays: Names that are no frame number, or no image.
        repeated: Images of a frame that has one already (the earlier folder wins).
    """

    files: dict[int, str] = field(default_factory=dict)
    strays: tuple[str, ...] = ()
    repeated: int = 0


def list_crops(folders: Iterable[Path]) -> CropListing:
    """List and merge crop folders without opening an image; litter of operating systems is passed over."""
    return merge_crops({folder: os.listdir(folder) for folder in folders})


def merge_crops(listed: Mapping[Path, Sequence[str]]) -> CropListing:
    """Merge crop folders whose names have been listed, in their order."""
    found: dict[int, str] = {}
    strays, repeated = [], 0
    for folder, names in listed.items():
        for name in sorted(names):
            if is_litter(name):
                continue
            match = CROP_NAME.fullmatch(name)
            number = int(match[1]) if match else 0
            if number < 1:
                strays.append(name)
            elif number in found:
                repeated += 1
            else:
                found[number] = f"{folder}{os.sep}{name}"
    return CropListing(dict(sorted(found.items())), tuple(strays), repeated)
