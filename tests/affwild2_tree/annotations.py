"""Annotation folders: the valence-arousal set, other challenges beside it with other splits, and a later edition."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from avfusion.corpora.demo.latents import Signals
from avfusion.corpora.demo.plan import VideoPlan, planned_times
from avfusion.corpora.demo.video_files import annotation
from tests.affwild2_tree.videos import VIDEOS

EDITION, LATER_EDITION = "VA_Set", "VA_Estimation_Challenge"
FOLDERS = {"train": "Train_Set", "val": "Validation_Set"}
TEST_LIST = "Valence_Arousal_test_set_release.txt"
EXPRESSIONS, UNITS = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise", "AU1,AU2,AU4,AU6,AU12,AU15,AU20,AU25"
EXTRA_ROWS = {"12-24-1920x1080": 1, "22-30-1920x1080": -1, "106-30-1280x720_right": 2500}
"""Rows of an annotation file beyond (or short of) the frames of its video."""
LOST = ("gone-25-640x360", "lost-1_left")
"""Annotated tracks whose video is not there; of the second, only the side's name would tell which it is."""
LOST_ROWS = 40


def annotate(root: Path, shown: Mapping[str, tuple[VideoPlan, Signals]], seed: int) -> dict[str, np.ndarray]:
    """Write the VA set and the test list; returns which frames (N,) of each track have labels."""
    folder = root / "annotations" / EDITION
    labelled = {}
    for track, (plan, signals) in shown.items():
        if plan.split not in FOLDERS:
            continue
        times = planned_times(plan, seed)
        valid = _annotated(plan, len(times))
        lines = annotation(signals.latents_at(times), valid, extra_line=False).splitlines()
        more = EXTRA_ROWS.get(track, 0)
        lines = lines[:more] if more < 0 else lines + lines[-1:] * more
        windows = track == "8-30-1280x720"
        text = "\ufeff" + "\r\n".join([*lines, "", "  ", ""]) if windows else "\n".join([*lines, ""])
        _put(folder / FOLDERS[plan.split] / f"{track}.txt", text)
        labelled[track] = valid.all(axis=1) & (np.arange(len(times)) < len(times) + more)
    for track in LOST:
        _put(folder / "Train_Set" / f"{track}.txt", "valence,arousal\n" + "0.25,-0.5\n" * LOST_ROWS)
    _put(folder / TEST_LIST, "\r\n".join([*_tracks("test"), ""]))
    _put(folder / "._notes.txt", "a Mac's\n")
    _put(root / "annotations" / "__MACOSX" / EDITION / "Train_Set" / "._video55.txt", "a Mac's\n")
    return labelled


def _annotated(plan: VideoPlan, frames: int) -> np.ndarray:
    """Which values (N, 2) are there: in an unlabelled span first both are missing, then only valence."""
    valid = np.ones((frames, 2), bool)
    if plan.unlabelled_span:
        valid[frames // 5 : frames // 4] = False
        valid[frames // 4 : frames // 3, 0] = False
    return valid


def add_other_challenges(root: Path, expressions: str, units: str, only_expressions: str) -> dict[str, int]:
    """Write two challenges that annotate the same videos in other splits; returns their numbers of files."""
    train, val, test = (_tracks(split) for split in ("train", "val", "test"))
    files = {
        expressions: {"Train_Set": [*val, *test[:2], only_expressions], "Validation_Set": train[:5]},
        units: {"Train_Set": [*val, *train[:3]], "Validation_Set": [*train[3:6], *test]},
    }
    for folder, splits in files.items():
        header, row = (EXPRESSIONS, "4") if folder == expressions else (UNITS, "0,1,0,0,1,0,0,-1")
        for split, tracks in splits.items():
            for track in tracks:
                _put(root / "annotations" / folder / split / f"{track}.txt", f"{header}\n{row}\n{row}\n")
    return {folder: sum(map(len, splits.values())) for folder, splits in files.items()}


def add_later_edition(root: Path) -> int:
    """Lay a second VA set beside the first, with other splits and a test list of its own; returns its files."""
    folder = root / "annotations" / LATER_EDITION
    splits = {"Train_Set": [*_tracks("train"), *_tracks("val")], "Validation_Set": _tracks("test")}
    for split, tracks in splits.items():
        for track in tracks:
            _put(folder / split / f"{track}.txt", "valence,arousal\n0.5,0.5\n0.5,-5\n")
    _put(folder / "Valence_Arousal_Estimation_Set_test_set_release.txt", "somebody\n")
    return sum(map(len, splits.values()))


def _tracks(split: str) -> list[str]:
    return [track for video in VIDEOS if video.split == split for track in video.tracks]


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
