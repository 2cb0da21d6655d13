"""A worker's task: turn a track's annotation into labels of its video's frames, as a label file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avfusion.corpora.source_hashes import RESCAN, refuse_changed
from avfusion.data.category_labels import ClipLabel
from avfusion.data.label_times import labels_by_number, labels_by_time
from avfusion.data.labels import LabelTable, write_labels
from avfusion.data.own_labels import OwnLabels, labels_of_frames
from avfusion.media.timeline import read_timeline
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.stamps import Stamp

Labels = LabelTable | OwnLabels | ClipLabel


@dataclass(frozen=True)
class LabelTask:
    """A worker's input for one track's labels.

    Attributes:
        delay_s: by which all of them lag behind the video.
        timed: they need the times of the video's frames.
        lags_s: by which those of valence and of arousal lag besides.
    """

    labels: Labels
    video: Path
    video_hash: str
    frames: int
    delay_s: float
    timed: bool
    lags_s: tuple[float, float] = (0.0, 0.0)


def make_labels(task: LabelTask, path: Path, wanted: Stamp) -> None:
    """Write one track's label file to `path`."""
    write_labels(_paired(task), path, wanted)


def _paired(task: LabelTask) -> LabelTable:
    if isinstance(task.labels, ClipLabel):
        return task.labels.repeated(task.frames)
    if isinstance(task.labels, LabelTable) and not task.timed:
        return task.labels.head(task.frames)
    own = task.labels if isinstance(task.labels, OwnLabels) else labels_of_frames(task.labels)
    if not task.timed:
        return labels_by_number(own, task.frames)
    refuse_changed(task.video, task.video_hash)
    timeline = read_timeline(task.video)
    if timeline.frames != task.frames:
        raise BadInputError(f"{task.video} has {timeline.frames} frames, {task.frames} when it was scanned: {RESCAN}")
    tables = {
        lag: labels_by_time(own, timeline.times_s, timeline.end_s, task.delay_s + lag) for lag in set(task.lags_s)
    }
    valence, arousal = (tables[lag] for lag in task.lags_s)
    valid = valence.valid & arousal.valid
    nothing = np.float32(np.nan)
    return LabelTable(np.where(valid, valence.valence, nothing), np.where(valid, arousal.arousal, nothing), valid)
