"""A worker's task: draw the contact sheet of a frame table, a JPEG with its stamp as a comment."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avfusion.data.frames import (
    decode_crops,
    encode_crop,
    read_crops_at,
    read_cuts,
    read_face_confidence,
    read_frame_times,
)
from avfusion.media.contact_sheet import contact_sheet, sample_frames
from avfusion.runtime.stamps import Stamp

_COMMENT = b"\xff\xfe"  # JPEG's marker


@dataclass(frozen=True)
class SheetTask:
    """A worker's input for one track's sheet; `source`: origin of its crops, for people."""

    track: str
    frames: Path
    source: str


def make_sheet(task: SheetTask, path: Path, wanted: Stamp) -> None:
    """Write one track's contact sheet to `path`."""
    times = read_frame_times(task.frames)
    present = read_face_confidence(task.frames) > 0
    indices = sample_frames(len(times))
    crops: list[np.ndarray | None] = [
        None if jpeg is None else decode_crops([jpeg])[0] for jpeg in read_crops_at(task.frames, indices.tolist())
    ]
    cuts = np.searchsorted(times, read_cuts(task.frames))
    subtitle = (
        f"{len(times)} frames, {times[-1]:.1f} s, face in {100 * present.mean():.1f} % ({task.source}); "
        f"blue bar: face, orange: none{f', black: the {len(cuts)} cuts of the track' if len(cuts) else ''}"
    )
    jpeg = encode_crop(contact_sheet(task.track, subtitle, indices, crops, present, cuts), 90)
    text = wanted.completed(hashlib.sha256(jpeg).hexdigest()[:32]).to_json().encode()
    path.write_bytes(jpeg[:2] + _COMMENT + (len(text) + 2).to_bytes(2) + text + jpeg[2:])


def read_stamp(path: Path) -> Stamp | None:
    """The stamp of a contact sheet, None without one."""
    with path.open("rb") as file:
        head = file.read(6)
        return Stamp.from_json(file.read(int.from_bytes(head[4:]) - 2)) if head[2:4] == _COMMENT else None
