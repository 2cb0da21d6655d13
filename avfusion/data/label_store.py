"""data/labels/<track>.parquet: the labels of the video's frames, paired by frame number or by time."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from avfusion.corpora.source_hashes import RESCAN
from avfusion.corpora.table import Track
from avfusion.data.annotations import read_all, read_annotation
from avfusion.data.category_labels import CATEGORY_READERS, ClipLabel
from avfusion.data.frame_labels import Labels, LabelTask, make_labels
from avfusion.data.label_times import needs_times
from avfusion.data.labels import LabelTable, read_stamp
from avfusion.data.own_labels import OwnLabels, read_own_labels
from avfusion.data.store import Store, StoreReport, update_store
from avfusion.media.time_limits import PROBE_LIMIT_S
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.fingerprints import file_digest, fingerprint
from avfusion.runtime.settings import ExecutionSettings
from avfusion.runtime.stamps import Stamp
from avfusion.runtime.units import unit_digest

READERS: dict[str, Callable[[Path, str | None], Labels]] = {
    "aff-wild2": read_annotation,
    "csv": read_own_labels,
    **CATEGORY_READERS,
}
NO_LAGS = (0.0, 0.0)
SERIAL = ExecutionSettings(executor="serial", workers=1)


def update_labels(
    folder: Path,
    root: Path,
    tracks: Sequence[Track],
    execution: ExecutionSettings,
    on_error: Literal["fail", "skip"] = "fail",
    lags_s: tuple[float, float] = NO_LAGS,
) -> StoreReport:
    """Bring the label files up to date; a track without an annotation file has none.

    Row i of an annotation file belongs to video frame i; rows beyond the last frame are ignored, and frames beyond the
    last row have no label. Own labels are paired by their form (`avfusion.data.label_times`).

    Args:
        execution: Execution of tasks that read frame times from videos; all others run one after another.
        on_error: What to do about a video whose frame times cannot be read.
        lags_s: Seconds by which labels of valence and of arousal lag behind the video, besides a track's own delay.

    Raises:
        BadInputError: as `label_store`.
        AVFusionError: a video whose frame times are needed cannot be read, or changed since the scan.
    """
    store = label_store(folder, root, tracks, lags_s)
    timed = [track for track, task in store.payloads.items() if task.timed]
    return update_store(
        store,
        execution=execution if timed else SERIAL,
        label="labels",
        on_error=on_error,
        limits_s=dict.fromkeys(timed, PROBE_LIMIT_S),
    )


def label_store(
    folder: Path, root: Path, tracks: Sequence[Track], lags_s: tuple[float, float] = NO_LAGS
) -> Store[LabelTask]:
    """The label files that belong in `folder`: one for each track with an annotation file.

    Raises:
        BadInputError: annotation files cannot be used, or changed since the scan; all of them are listed.
    """
    labelled = [track for track in tracks if track.labels_path]
    files = {track.track: root / track.labels_path for track in labelled}
    written = [track for track in labelled if track.label_format not in CATEGORY_READERS]  # else the name is the label
    if changed := [t.labels_path for t in written if _digest(files[t.track]) != t.labels_hash]:
        raise BadInputError(
            f"{len(changed)} annotation files changed since the last scan ({', '.join(changed[:5])}): {RESCAN}"
        )
    labels: dict[str, Labels] = {}
    for form, read in READERS.items():
        names = {track.track: track.labels_path for track in labelled if track.label_format == form}
        labels |= read_all({name: files[name] for name in names}, read, names)
    code = unit_digest("labels")
    return Store(
        folder,
        ".parquet",
        {track.track: Stamp(_made(track, labels[track.track], lags_s), code) for track in labelled},
        {track.track: _task(track, root, labels[track.track], lags_s) for track in labelled},
        make_labels,
        read_stamp,
    )


def _timed(track: Track, labels: Labels, lags_s: tuple[float, float]) -> bool:
    if isinstance(labels, OwnLabels):
        return any(lags_s) or needs_times(labels, track.label_delay_s)
    return isinstance(labels, LabelTable) and any(lags_s)


def _made(track: Track, labels: Labels, lags_s: tuple[float, float]) -> str:
    if isinstance(labels, ClipLabel):
        return fingerprint(point=(labels.valence, labels.arousal), frames=track.frames)
    parts = {"labels": track.labels_hash, "frames": track.frames}
    if isinstance(labels, OwnLabels):
        parts |= {"format": track.label_format, "delay_s": track.label_delay_s}
    if _timed(track, labels, lags_s):
        parts |= {"video": track.video_hash} | ({"lags_s": lags_s} if any(lags_s) else {})
    return fingerprint(**parts)


def _task(track: Track, root: Path, labels: Labels, lags_s: tuple[float, float]) -> LabelTask:
    video, timed = root / track.video_path, _timed(track, labels, lags_s)
    return LabelTask(labels, video, track.video_hash, track.frames, track.label_delay_s, timed, lags_s)


def _digest(path: Path) -> str:
    return file_digest(path) if path.is_file() else ""
