"""The demo corpus on disk, in Aff-Wild2's shape, video by video, whole or not there; and the truth for evaluation."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from avfusion.corpora.demo import plan
from avfusion.corpora.demo.plan import VideoPlan
from avfusion.corpora.demo.video_files import (
    VideoTask,
    crops_path,
    draw_signals,
    labels_path,
    truth_path,
    video_path,
    write_files,
)
from avfusion.corpora.settings import RenderSettings
from avfusion.runtime.atomic import write_json, write_text
from avfusion.runtime.execution import run_tasks
from avfusion.runtime.fingerprints import fingerprint, folder_digest
from avfusion.runtime.settings import ExecutionSettings
from avfusion.runtime.stamps import Stamp
from avfusion.runtime.units import unit_digest

TEST_LIST = "Valence_Arousal_test_set_release.txt"
_EXPRESSIONS = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise"
NOT_RENDERED = "not-rendered.txt"
_PARTIAL = ".partial"


def render_demo(root: Path, params: RenderSettings, execution: ExecutionSettings) -> None:
    """Make `root` hold exactly the corpus of `params`; videos that are already there and current are kept.

    Raises:
        AVFusionError: A video could not be rendered; the others are there.
    """
    shutil.rmtree(root / _PARTIAL, ignore_errors=True)
    (root / NOT_RENDERED).unlink(missing_ok=True)
    tasks = video_tasks(root, params)
    videos = [task.video for task in tasks]
    _remove_strangers(root, videos)
    _tell_damaged([marker for video in videos if (marker := marker_path(root, video)).is_file()])
    due = [(task.video.video, task) for task in tasks if not _is_finished(root, task.video, task.wanted)]
    run_tasks(_make_video, due, executor=execution.executor, workers=execution.workers, label="render")
    _write_lists(root, videos, params.seed)
    shutil.rmtree(root / _PARTIAL, ignore_errors=True)


def video_tasks(root: Path, params: RenderSettings) -> list[VideoTask]:
    """A task for each video of `params`, rendered or not."""
    params = RenderSettings.model_validate(params.model_dump())  # 25 and 25.0 are one parameter, and one fingerprint
    videos, code = plan.plan_videos(params), unit_digest("demo")
    signals, scale = draw_signals(params, videos)
    return [
        VideoTask(root, video, signals[video.video], scale, params.seed, params.size, _wanted(params, video, code))
        for video in videos
    ]


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
    code = unit_digest("demo")
    return all(_is_finished(root, video, _wanted(params, video, code)) for video in plan.plan_videos(params))


def marker_path(root: Path, video: VideoPlan) -> Path:
    """Return the file that is written when all others of `video` are there; it holds their stamp."""
    return root / "truth" / f"{video.video}.json"


def read_stamp(marker: Path) -> Stamp:
    """The stamp in a video's marker.

    Raises:
        OSError, ValueError, KeyError, TypeError: there is none.
    """
    return Stamp.from_dict(json.loads(marker.read_text(encoding="utf-8"))["stamp"])


def restamp(marker: Path, stamp: Stamp) -> None:
    """Put another stamp into a video's marker."""
    write_json(marker, json.loads(marker.read_text(encoding="utf-8")) | {"stamp": stamp.to_dict()})


def _outputs(root: Path, video: VideoPlan) -> list[Path]:
    paths = [video_path(root, video)]
    for track in video.tracks:
        labels = labels_path(root, video, track)
        paths += [crops_path(root, track), truth_path(root, track)] + ([labels] if labels else [])
    return paths


def _wanted(params: RenderSettings, video: VideoPlan, code: str) -> Stamp:
    return Stamp(fingerprint(params=params.model_dump(), video=video.video), code)


def _is_finished(root: Path, video: VideoPlan, wanted: Stamp) -> bool:
    """Whether all files of a video are there, made as wanted, and each crop folder holds as many files as it got."""
    try:
        marker = json.loads(marker_path(root, video).read_text(encoding="utf-8"))
        current = Stamp.from_dict(marker["stamp"]).is_current(wanted)
        crops = {track: int(marker["crops"][track]) for track in video.tracks}
        whole = all(_count(crops_path(root, track)) == count for track, count in crops.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return current and whole and all(path.exists() for path in _outputs(root, video))


def _tell_damaged(markers: Sequence[Path]) -> None:
    damaged = 0
    for marker in markers:
        try:
            read_stamp(marker)
        except (OSError, ValueError, KeyError, TypeError):
            damaged += 1
    if damaged:
        print(f"render: no stamp can be read in {damaged} of the markers: these videos are made anew", flush=True)


def _count(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir())


def _make_video(task: VideoTask) -> None:
    """Render one video under a temporary folder and move it into place; the marker comes last."""
    root, video = task.root, task.video
    marker = marker_path(root, video)
    marker.unlink(missing_ok=True)
    work = root / _PARTIAL / video.video
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    moves = write_files(task, work)
    stamp = task.wanted.completed(folder_digest(work)[:32])
    crops = {track: _count(work / track) for track in video.tracks}
    for source, target in moves:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            shutil.rmtree(target)
        source.replace(target)
    work.rmdir()
    marker.parent.mkdir(parents=True, exist_ok=True)
    write_json(marker, {"stamp": stamp.to_dict(), "crops": crops})


def _write_lists(root: Path, videos: list[VideoPlan], seed: int) -> None:
    """Write the list of test tracks, and one annotation file of another challenge, which readers leave alone."""
    tests = [track for video in videos if video.split == "test" for track in video.tracks]
    write_text(root / "annotations" / "VA_Set" / TEST_LIST, "".join(f"{track}\n" for track in tests))
    other = videos[0]
    rows = "".join("0\n" for _ in plan.frame_ticks(other, seed))
    write_text(root / "annotations" / "EXPR_Set" / "Train_Set" / f"{other.tracks[0]}.txt", f"{_EXPRESSIONS}\n{rows}")


def _remove_strangers(root: Path, videos: list[VideoPlan]) -> None:
    """Delete what belongs to no video of the plan, markers first: a half-deleted video is never taken for whole."""
    wanted = {path for video in videos for path in (*_outputs(root, video), marker_path(root, video))}
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
