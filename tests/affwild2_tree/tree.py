"""The whole tree, and what has to be said about it."""

import shutil
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avfusion.corpora.demo.plan import planned_times
from tests.affwild2_tree import annotations, crops
from tests.affwild2_tree.videos import VIDEOS, film_videos

TRUNCATED = next(video for video in VIDEOS if video.bend == "truncated")
SILENT_PICTURE = next(video for video in VIDEOS if video.audio is None)


@dataclass(frozen=True)
class Tree:
    """A corpus on disk, and every fact that must be reported about it, once.

    Attributes:
        root: Folder with videos/, cropped_aligned*/ and annotations/.
        withheld: Folder of filmed crops, by track, that the corpus does not have.
        frames: Video frames of every track with a readable video.
        labelled: Which frames (N,) of a labelled track have labels.
        warnings: What the table of tracks must say, by track; tracks of which nothing is to be said are absent.
        remarks: What reports/faces/summary.csv must say.
        notes: What belongs to no track, as the doctor must say it.
    """

    root: Path
    withheld: Path
    frames: dict[str, int]
    labelled: dict[str, np.ndarray]
    warnings: dict[str, tuple[str, ...]]
    remarks: dict[str, tuple[str, ...]]
    notes: tuple[str, ...]


def make_tree(folder: Path, *, seconds: float, size: int, seed: int = 31) -> Tree:
    """Make the corpus in `folder`/corpus from videos of about `seconds` and `size` pixels."""
    root, work, withheld = (folder / name for name in ("corpus", "work", "withheld"))
    for path in (root, work, withheld):
        path.mkdir(parents=True)
    shown = film_videos(root, work, seconds, size, seed)
    frames = {track: len(planned_times(plan, seed)) for track, (plan, _) in shown.items()}
    labelled = annotations.annotate(root, shown, seed)
    crop_counts = crops.place_crops(root, work, withheld, frames)
    _add_strangers(root)
    others = annotations.add_other_challenges(root, "EXPR_Set", "AU_Set", "expr-only")
    shutil.rmtree(work)
    return Tree(
        root,
        withheld,
        {track: count for track, count in frames.items() if track not in TRUNCATED.tracks},
        labelled,
        _warnings(frames, crop_counts),
        {
            crops.BENT: (
                "1 crops are truncated: no face",
                "1 crops cannot be decoded: no face",
                "3 crops were not 112x112 RGB JPEG: encoded anew",
            ),
            # Faces of two people in one picture: a moment at which it is unclear who is who is remarked.
            **{f"video49_{side}": ("track cut once (unclear who is who), at 3.6 s",) for side in ("left", "right")},
        },
        (
            *(f"annotations/{name}: {n} annotation files ignored (not valence-arousal)" for name, n in others.items()),
            "2 videos belong to no valence-arousal track: expr-only, unlabelled",
            "2 crop folders belong to no valence-arousal track: expr-only, stranger",
        ),
    )


def _add_strangers(root: Path) -> None:
    """A video of another challenge, one of none, one that is there twice; and what a Mac and Windows leave."""
    some = root / "videos" / "batch1" / "video2.mp4"
    for name in ("batch2/video2.mp4", "batch2/expr-only.mp4", "unlabelled.mp4"):
        shutil.copyfile(some, root / "videos" / name)
    for name in ("videos/.DS_Store", "videos/batch1/Thumbs.db", "videos/__MACOSX/._video2.mp4", "__MACOSX/._x.mp4"):
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"\0\5\x16\7")


def _warnings(frames: dict[str, int], crop_counts: dict[str, int]) -> dict[str, tuple[str, ...]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for track in crops.DETECTED:
        found[track].append("no crops: faces are detected in the video")
    for track in annotations.LOST:
        found[track].append(f"no video {track.removesuffix('_left')!r} below videos/: the track cannot be used")
    found["video2"].append(
        "2 videos have this name (videos/batch1/video2.mp4, videos/batch2/video2.mp4): the first is used"
    )
    for track in SILENT_PICTURE.tracks:
        found[track].append("no audio stream: the audio is absent in every clip")
    for track, more in annotations.EXTRA_ROWS.items():
        rows, count = frames[track] + more, frames[track]
        what = f"the last {more} are not used" if more > 0 else f"the last {-more} frames have no label"
        found[track].append(f"{rows} label rows for {count} video frames: {what}")
    sparse, missing = crops.SPARSE, frames[crops.SPARSE] - crop_counts[crops.SPARSE]
    found[sparse].append(f"{missing} of {frames[sparse]} video frames have no crop")
    found[crops.MERGED].append("1 crops repeat a frame that has one")
    found[crops.BENT] += [
        f"2 crops beyond the last of {frames[crops.BENT]} video frames are not used",
        "3 files among the crops are no numbered images, e.g. 00001 (copy).jpg",
    ]
    return {track: tuple(texts) for track, texts in found.items()}
