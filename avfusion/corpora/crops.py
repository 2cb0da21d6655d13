"""Folders of face crops: one image per video frame, named by the frame's number from 1."""

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
        files: Image file by video frame (from 1), in frame order; plain strings, since there are millions.
        strays: Names that are not a frame number, or not an image.
        repeated: Further images of a frame (the earlier folder wins).
    """

    files: dict[int, str] = field(default_factory=dict)
    strays: tuple[str, ...] = ()
    repeated: int = 0


def list_crops(folders: Iterable[Path]) -> CropListing:
    """List and merge crop folders without opening an image; litter of operating systems is ignored."""
    return merge_crops({folder: os.listdir(folder) for folder in folders})


def merge_crops(listed: Mapping[Path, Sequence[str]]) -> CropListing:
    """Merge the listings of crop folders, in their order."""
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
