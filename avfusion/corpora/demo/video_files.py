"""The files of one demo video: pictures and sound, crops, annotations, and the truth for evaluation."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits

from avfusion.corpora.demo import plan
from avfusion.corpora.demo.latents import Signals, inside
from avfusion.corpora.demo.oracle import Scale, fit_scale, predictions
from avfusion.corpora.demo.plan import Purpose, VideoPlan
from avfusion.corpora.settings import RenderSettings
from avfusion.runtime.stamps import Stamp

NOT_ANNOTATED = -5
LABEL_FOLDERS = {"train": "Train_Set", "val": "Validation_Set"}
# BLAS sums in another order with another number of threads, and its last bits reach the sound, where the AAC encoder
# decides by them: so the numbers are fixed, whatever machine and executor. Two: scores are measured on such a corpus.
# One is several times faster.
_DRAWING_THREADS = {"direct": 2, "interaction": 1}
_FILMING_THREADS = 1


@dataclass(frozen=True)
class VideoTask:
    """All that a worker needs to make one video."""

    root: Path
    video: VideoPlan
    signals: tuple[Signals, ...]
    scale: Scale
    seed: int
    size: int
    wanted: Stamp


def draw_signals(params: RenderSettings, videos: list[VideoPlan]) -> tuple[Mapping[str, tuple[Signals, ...]], Scale]:
    """The signals of all videos' people, by video, and what they are scaled by."""
    with threadpool_limits(_DRAWING_THREADS[params.emotions], "blas"):
        signals = plan.draw_corpus(params, videos)
        return signals, fit_scale(track for video in videos if video.split == "train" for track in signals[video.video])


def video_path(root: Path, video: VideoPlan) -> Path:
    """Return where the video file of `video` lies."""
    return root / "videos" / f"{video.video}.mp4"


def crops_path(root: Path, track: str) -> Path:
    """Return the folder of a track's crops."""
    return root / "cropped_aligned" / track


def labels_path(root: Path, video: VideoPlan, track: str) -> Path | None:
    """Return the annotation file of a track, None for the test split."""
    folder = LABEL_FOLDERS.get(video.split)
    return root / "annotations" / "VA_Set" / folder / f"{track}.txt" if folder else None


def truth_path(root: Path, track: str) -> Path:
    """Return the table of a track's true latents."""
    return root / "truth" / f"{track}.parquet"


def write_files(task: VideoTask, work: Path) -> list[tuple[Path, Path]]:
    """Make a video's files and crop folders in the folder `work`; returns each with its place in the corpus."""
    from avfusion.corpora.demo.film import film  # OpenCV and FFmpeg are loaded by the workers that need them

    root, video = task.root, task.video
    times = plan.planned_times(video, task.seed)
    moves = [(work / "video.mp4", video_path(root, video))]
    with threadpool_limits(_FILMING_THREADS, "blas"):  # holds for the libraries loaded by now
        film(video, task.signals, task.seed, task.size, work / "video.mp4", [work / track for track in video.tracks])
        for person, (track, signals) in enumerate(zip(video.tracks, task.signals, strict=True)):
            valid = _annotated(video, task.seed, person, times)
            truth = truth_table(signals, task.scale, times, valid[:, 0] & valid[:, 1])
            pq.write_table(truth, work / f"{track}.parquet")
            moves += [(work / track, crops_path(root, track)), (work / f"{track}.parquet", truth_path(root, track))]
            labels = labels_path(root, video, track)
            if labels:
                text = annotation(signals.latents_at(times), valid, video.extra_label_line)
                (work / f"{track}.txt").write_text(text, encoding="utf-8", newline="\n")
                moves.append((work / f"{track}.txt", labels))
    return moves


def _annotated(video: VideoPlan, seed: int, person: int, times: np.ndarray) -> np.ndarray:
    """Return which values (N, 2) of valence and arousal were annotated; a span may lack one or both."""
    valid = np.ones((len(times), 2), dtype=bool)
    if video.unlabelled_span:
        generator = video.rng(seed, Purpose.LABELS, person)
        length = min(generator.uniform(1.0, 3.0), 0.3 * video.duration_s)
        start = generator.uniform(0.0, video.duration_s - length)
        middle = start + 0.6 * length
        valid[inside(((start, start + length),), times), 0] = False
        valid[inside(((start, middle),), times), 1] = False
    return valid


def annotation(latents: np.ndarray, valid: np.ndarray, extra_line: bool) -> str:
    """Return an annotation file's text for valence and arousal (N, 2); what is not `valid` (N, 2) becomes -5."""
    lines = ["valence,arousal"]
    for values, known in zip(latents, valid, strict=True):
        lines.append(",".join(f"{v:.4f}" if ok else str(NOT_ANNOTATED) for v, ok in zip(values, known, strict=True)))
    if extra_line:
        lines.append(lines[-1])
    return "\n".join(lines) + "\n"


def truth_table(signals: Signals, scale: Scale, times: np.ndarray, valid: np.ndarray) -> pa.Table:
    """Return a track's truth, one row a frame: latents, when a stream was lost, and the oracle's predictions."""
    latents = signals.latents_at(times).astype(np.float32)
    spans = signals.spans
    columns: dict[str, np.ndarray] = {
        "frame": np.arange(1, len(times) + 1, dtype=np.int32),
        "valence": latents[:, 0],
        "arousal": latents[:, 1],
        "valid": valid,
        "occluded": inside(spans.occlusions, times),
        "pause": inside(spans.pauses, times),
        "burst": inside(spans.bursts, times),
    }
    best = predictions(signals, scale, times)
    for source in ("both", *(name for name in best if name != "both")):
        for index, target in enumerate(("valence", "arousal")):
            columns[f"oracle_{source}_{target}"] = best[source][:, index].astype(np.float32)
    return pa.table(columns)
