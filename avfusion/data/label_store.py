"""data/labels/<track>.parquet: the labels of the video's frames, paired by frame number or by time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from avfusion.corpora.sources import RESCAN, refuse_changed
from avfusion.corpora.table import Track
from avfusion.data import label_times
from avfusion.data.label_times import labels_by_number, labels_by_time, needs_times
from avfusion.data.labels import (
    VERSION,
    LabelTable,
    read_all,
    read_annotation,
    read_parquet_fingerprint,
    write_labels,
)
from avfusion.data.own_labels import OwnLabels, read_own_labels
from avfusion.data.store import StoreReport, update_store
from avfusion.media.time_limits import PROBE_LIMIT_S
from avfusion.media.timeline import read_timeline
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.fingerprints import file_digest, fingerprint
from avfusion.runtime.settings import ExecutionSettings

Labels = LabelTable | OwnLabels
READERS: dict[str, Callable[[Path, str | None], Labels]] = {
    "aff-wild2": read_annotation,
    "csv": read_own_labels,
}
SERIAL = ExecutionSettings(executor="serial", workers=1)


@dataclass(frozen=True)
class _LabelTask:
    labels: Labels
    video: Path
    video_hash: str
    frames: int
    delay_s: float
    timed: bool


def update_labels(
    folder: Path,
    root: Path,
    tracks: Sequence[Track],
    execution: ExecutionSettings,
    on_error: Literal["fail", "skip"] = "fail",
) -> StoreReport:
    """Bring the label files up to date; a track without an annotation file has none.

    Row i of an annotation file belongs to video frame i; rows beyond the last frame are left out, and frames beyond
    the last row have no label. Own labels are paired as their form says (`avfusion.data.label_times`).

    Args:
        folder: Where the label files are kept.
        root: Folder of the raw data.
        tracks: Tracks with a readable video.
        execution: How the files are written where frame times have to be read from videos; else one after another.
        on_error: What happens after a video whose frame times cannot be read.

    Raises:
        BadInputError: annotation files cannot be used, or changed since the scan; all of them are listed.
        AVFusionError: videos whose frame times are needed cannot be read, or changed since the scan.
    """
    labelled = [track for track in tracks if track.labels_path]
    files = {track.track: root / track.labels_path for track in labelled}
    if changed := [t.labels_path for t in labelled if _digest(files[t.track]) != t.labels_hash]:
        raise BadInputError(
            f"{len(changed)} annotation files changed since the last scan ({', '.join(changed[:5])}): {RESCAN}"
        )
    labels: dict[str, Labels] = {}
    for form, read in READERS.items():
        names = {track.track: track.labels_path for track in labelled if track.label_format == form}
        labels |= read_all({name: files[name] for name in names}, read, names)
    timed = [track.track for track in labelled if _timed(track, labels[track.track])]
    return update_store(
        folder,
        ".parquet",
        {track.track: _fingerprint(track, labels[track.track]) for track in labelled},
        {track.track: _task(track, root, labels[track.track]) for track in labelled},
        _make_labels,
        read_parquet_fingerprint,
        execution=execution if timed else SERIAL,
        label="labels",
        on_error=on_error,
        limits_s=dict.fromkeys(timed, PROBE_LIMIT_S),
    )


def _timed(track: Track, labels: Labels) -> bool:
    return isinstance(labels, OwnLabels) and needs_times(labels, track.label_delay_s)


def _fingerprint(track: Track, labels: Labels) -> str:
    parts = {"labels": track.labels_hash, "frames": track.frames, "version": VERSION}
    if isinstance(labels, OwnLabels):
        parts |= {"format": track.label_format, "delay_s": track.label_delay_s, "times_version": label_times.VERSION}
    if _timed(track, labels):
        parts |= {"video": track.video_hash}
    return fingerprint(**parts)


def _task(track: Track, root: Path, labels: Labels) -> _LabelTask:
    video, timed = root / track.video_path, _timed(track, labels)
    return _LabelTask(labels, video, track.video_hash, track.frames, track.label_delay_s, timed)


def _make_labels(task: _LabelTask, path: Path, digest: str) -> None:
    write_labels(_frame_labels(task), path, digest)


def _frame_labels(task: _LabelTask) -> LabelTable:
    if isinstance(task.labels, LabelTable):
        return task.labels.head(task.frames)
    if not task.timed:
        return labels_by_number(task.labels, task.frames)
    refuse_changed(task.video, task.video_hash)
    timeline = read_timeline(task.video)
    if timeline.frames != task.frames:
        raise BadInputError(f"{task.video} has {timeline.frames} frames, {task.frames} when it was scanned: {RESCAN}")
    return labels_by_time(task.labels, timeline.times_s, timeline.end_s, task.delay_s)


def _digest(path: Path) -> str:
    return file_digest(path) if path.is_file() else ""
