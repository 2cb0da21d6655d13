"""A worker's task: write the crops of the followed face of a video as a frame table."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from avfusion.corpora.source_hashes import refuse_changed
from avfusion.data.frames import FrameRow, encode_crop, write_frames
from avfusion.data.settings import FramesSettings
from avfusion.media.face_tracks import face_crops
from avfusion.media.faces import USUAL_SIDE
from avfusion.media.persons import Side
from avfusion.media.timeline import Timeline, read_timeline
from avfusion.runtime.stamps import Stamp


@dataclass(frozen=True)
class DetectedCropsTask:
    """A worker's input for the frames of a track without crops, whose faces are detected."""

    video: Path
    video_hash: str
    side: Side | None
    settings: FramesSettings


def make_frames_of_faces(task: DetectedCropsTask, path: Path, wanted: Stamp) -> None:
    """Write one track's frame table to `path`."""
    refuse_changed(task.video, task.video_hash)
    warnings: list[str] = []
    cuts_s: list[float] = []
    rows = _rows(task, read_timeline(task.video), warnings, cuts_s)
    write_frames(path, rows, wanted, lambda: warnings, lambda: cuts_s)


def _rows(task: DetectedCropsTask, timeline: Timeline, warnings: list[str], cuts_s: list[float]) -> Iterator[FrameRow]:
    found = False
    for crop in face_crops(
        task.video,
        detect_every=task.settings.detect_every,
        min_confidence=task.settings.min_confidence,
        min_face=task.settings.min_face,
        side=task.side,
        timeline=timeline,
        on_warning=warnings.append,
        on_cuts=cuts_s.extend,
    ):
        found |= crop.rgb is not None
        jpeg = None if crop.rgb is None else encode_crop(crop.rgb, task.settings.jpeg_quality)
        yield FrameRow(crop.frame, crop.time_s, jpeg, crop.confidence)
    if not found:
        warnings.append(
            f"no face of {task.settings.min_face} pixels or more at {USUAL_SIDE} wide was found in any frame: lower "
            "frames.min_face to look for smaller ones"
        )
