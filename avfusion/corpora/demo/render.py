"""The demo corpus on disk, in Aff-Wild2's shape, video by video, whole or not there; and the truth for evaluation."""

import json
import shutil
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
from avfusion.runtime.atomic import write_json, write_text
from avfusion.runtime.execution import run_tasks
from avfusion.runtime.fingerprints import fingerprint
from avfusion.runtime.settings import ExecutionSettings

VERSION = 1
"""Raise it when equal params give other files."""
NOT_ANNOTATED = -5
LABEL_FOLDERS = {"train": "Train_Set", "val": "Validation_Set"}
TEST_LIST = "Valence_Arousal_test_set_release.txt"
_EXPRESSIONS = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise"
NOT_RENDERED = "not-rendered.txt"
_PARTIAL = ".partial"
# BLAS sums in another order with another number of threads, and its last bits reach the sound, where the AAC encoder
# decides by them: so the numbers are fixed, whatever machine and executor. Two: scores are measured on such a corpus.
_DRAWING_THREADS = 2
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
    fingerprint: str


def render_demo(root: Path, params: RenderSettings, execution: ExecutionSettings) -> None:
    """Make `root` hold exactly the corpus of `params`; videos that are already there and current are kept.

    Raises:
        AVFusionError: A video could not be rendered; the others are there.
    """
    params = RenderSettings.model_validate(params.model_dump())  # 25 and 25.0 are one parameter, and one fingerprint
    videos = plan.plan_videos(params)
    with threadpool_limits(_DRAWING_THREADS, "blas"):
        signals = plan.draw_corpus(params, videos)
        scale = fit_scale(track for video in videos if video.split == "train" for track in signals[video.video])
    shutil.rmtree(root / _PARTIAL, ignore_errors=True)
    (root / NOT_RENDERED).unlink(missing_ok=True)
    _remove_strangers(root, videos)
    tasks = []
    for video in videos:
        digest = _video_digest(params, video)
        if not _finished(root, video, digest):
            task = VideoTask(root, video, signals[video.video], scale, params.seed, params.size, digest)
            tasks.append((video.video, task))
    run_tasks(_make_video, tasks, executor=execution.executor, workers=execution.workers, label="render")
    _write_lists(root, videos, params.seed)
    shutil.rmtree(root / _PARTIAL, ignore_errors=True)


def leave_unrendered(root: Path) -> None:
    """Make sure that the folder is there for DVC, which expects it whatever the corpus, and warns of an empty one."""
    root.mkdir(parents=True, exist_ok=True)
    if not any(root.iterdir()):
        write_text(root / NOT_RENDERED, "The demo corpus is rendered here where corpus.name is demo.\n")


def is_rendered(root: Path, params: RenderSettings) -> bool:
    """Whether `root` holds the whole corpus of `params`, every video of it finished."""
    params = RenderSettings.model_validate(params.model_dump())
    if not (root / "annotations" / "VA_Set" / TEST_LIST).is_file():  # written after the last video
        return False
    return all(_finished(root, video, _video_digest(params, video)) for video in plan.plan_videos(params))


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


def _marker(root: Path, video: VideoPlan) -> Path:
    return root / "truth" / f"{video.video}.json"


def _outputs(root: Path, video: VideoPlan) -> list[Path]:
    paths = [video_path(root, video)]
    for track in video.tracks:
        labels = labels_path(root, video, track)
        paths += [crops_path(root, track), truth_path(root, track)] + ([labels] if labels else [])
    return paths


def _video_digest(params: RenderSettings, video: VideoPlan) -> str:
    return fingerprint(version=VERSION, params=params.model_dump(), video=video.video)


def _finished(root: Path, video: VideoPlan, digest: str) -> bool:
    """Whether all files of a video are there, made by `digest`, and each crop folder holds as many files as it got."""
    try:
        marker = json.loads(_marker(root, video).read_text(encoding="utf-8"))
        current = marker["fingerprint"] == digest
        crops = {track: int(marker["crops"][track]) for track in video.tracks}
        whole = all(_count(crops_path(root, track)) == count for track, count in crops.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return current and whole and all(path.exists() for path in _outputs(root, video))


def _count(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir())


def _make_video(task: VideoTask) -> None:
    """Render one video under a temporary folder and move it into place; the marker comes last."""
    root, video = task.root, task.video
    marker = _marker(root, video)
    marker.unlink(missing_ok=True)
    work = root / _PARTIAL / video.video
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    moves = _write_files(task, work)
    crops = {track: _count(work / track) for track in video.tracks}
    for source, target in moves:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            shutil.rmtree(target)
        source.replace(target)
    work.rmdir()
    marker.parent.mkdir(parents=True, exist_ok=True)
    write_json(marker, {"fingerprint": task.fingerprint, "crops": crops})


def _write_files(task: VideoTask, work: Path) -> list[tuple[Path, Path]]:
    """Make a video's files and crop folders in the folder `work`; returns each with its place in the corpus."""
    from avfusion.corpora.demo.film import film  # OpenCV and FFmpeg are loaded by the workers that need them

    root, video = task.root, task.video
    times = plan.frame_times(video, task.seed)
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
    for source in ("both", "audio", "visual"):
        for index, target in enumerate(("valence", "arousal")):
            columns[f"oracle_{source}_{target}"] = best[source][:, index].astype(np.float32)
    return pa.table(columns)


def _write_lists(root: Path, videos: list[VideoPlan], seed: int) -> None:
    """Write the list of test tracks, and one annotation file of another challenge, which readers leave alone."""
    tests = [track for video in videos if video.split == "test" for track in video.tracks]
    write_text(root / "annotations" / "VA_Set" / TEST_LIST, "".join(f"{track}\n" for track in tests))
    other = videos[0]
    rows = "".join("0\n" for _ in plan.frame_ticks(other, seed))
    write_text(root / "annotations" / "EXPR_Set" / "Train_Set" / f"{other.tracks[0]}.txt", f"{_EXPRESSIONS}\n{rows}")


def _remove_strangers(root: Path, videos: list[VideoPlan]) -> None:
    """Delete what belongs to no video of the plan, markers first: a half-deleted video is never taken for whole."""
    wanted = {path for video in videos for path in (*_outputs(root, video), _marker(root, video))}
    patterns = (
        "truth/*.json",
        "truth/*.parquet",
        "videos/*.mp4",
        "cropped_aligned/*",
        "annotations/VA_Set/*/*.txt",
        "annotations/EXPR_Set/*/*.txt",
    )
    for pattern in patterns:
        for path in sorted(root.glob(pattern)):
            if path not in wanted:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
