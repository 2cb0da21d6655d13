"""What every adapter owes the later stages, on one set of files that both can read."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from avfusion.corpora.adapters import open_corpus
from avfusion.corpora.layout import CorpusLayout
from avfusion.corpora.settings import CorpusSettings
from avfusion.corpora.sources import describe_sources
from avfusion.runtime.errors import BadInputError

SPLITS = {"a": "train", "b": "test", "pair_left": "train", "pair_right": "val"}
VIDEOS = {"a": "a", "b": "b", "pair_left": "pair", "pair_right": "pair"}
FOLDERS = {"train": "Train_Set", "val": "Validation_Set"}


def labels_path(track: str, split: str) -> str:
    return f"annotations/VA/{FOLDERS[split]}/{track}.txt" if split in FOLDERS else ""


def write_files(root: Path, splits: dict[str, str]) -> Path:
    for track, split in splits.items():
        names = [f"videos/batch/{VIDEOS.get(track, track)}.mp4", labels_path(track, split), "cropped_aligned/a/1.jpg"]
        for name in filter(None, names):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text("valence,arousal\n0,0\n")
    return root


def affwild2(root: Path, splits: dict[str, str]) -> CorpusLayout:
    tests = [track for track, split in splits.items() if split == "test"]
    (root / "annotations" / "VA" / "Valence_Arousal_test_set_release.txt").write_text("\n".join(tests))
    return open_corpus(CorpusSettings(name="affwild2"), root)


def manifest(root: Path, splits: dict[str, str]) -> CorpusLayout:
    rows = ["video,track,split,labels,crops"]
    for track, split in splits.items():
        crops = "cropped_aligned/a" if track == "a" else ""
        rows.append(f"videos/batch/{VIDEOS.get(track, track)}.mp4,{track},{split},{labels_path(track, split)},{crops}")
    (root / "manifest.csv").write_text("\n".join(rows))
    return open_corpus(CorpusSettings(name="manifest"), root)


Adapter = Callable[[Path, dict[str, str]], CorpusLayout]
both = pytest.mark.parametrize("adapter", [affwild2, manifest])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_files(tmp_path / "raw", SPLITS)


def test_both_find_the_same_tracks(root: Path) -> None:
    found = [adapter(root, SPLITS).tracks for adapter in (affwild2, manifest)]
    facts = [[replace(track, warnings=(), label_format="") for track in tracks] for tracks in found]
    assert facts[0] == facts[1]
    assert [(track.track, track.video, track.split) for track in facts[0]] == [
        (track, VIDEOS[track], split) for track, split in SPLITS.items()
    ]
    assert [track.side for track in facts[0]] == ["", "", "left", "right"]
    assert facts[0][0].crops_paths == ("cropped_aligned/a",)
    assert facts[0][0].labels_path == "annotations/VA/Train_Set/a.txt"


@both
def test_every_path_and_every_list_is_a_source(adapter: Adapter, root: Path) -> None:
    layout = adapter(root, SPLITS)
    paths = {path for track in layout.tracks for path in (track.video_path, track.labels_path)} - {""}
    assert len(layout.extra_sources) == 1
    assert describe_sources(layout, root).keys() == paths | {"cropped_aligned/a/", layout.extra_sources[0]}


@both
def test_a_video_in_two_splits_is_a_warning_on_each_of_its_tracks(adapter: Adapter, root: Path) -> None:
    leak = "its video is in several splits (train, val)"
    warned = [track.track for track in adapter(root, SPLITS).tracks if leak in track.warnings]
    assert warned == ["pair_left", "pair_right"]


@both
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("b (1)", "'b (1)' has characters"),
        ("b..c", "'b..c' has characters"),
        ("A", "case"),
        (".", "'.' begins with a '.'"),
        (".partial-x", "'.partial-x' begins with a '.'"),
        ("ü" * 101, f"'{'ü' * 101}' is 202 bytes long: must be at most 200"),
        ("b b", ""),
        ("b.", ""),
        ("ü" * 100, ""),
    ],
)
def test_names_that_are_no_file_names_are_refused(adapter: Adapter, name: str, reason: str, tmp_path: Path) -> None:
    splits = {"a": "train", name: "test"}
    root = write_files(tmp_path, splits)
    if not reason:
        assert [track.track for track in adapter(root, splits).tracks] == ["a", name]
        return
    with pytest.raises(BadInputError) as error:
        adapter(root, splits)
    assert reason in str(error.value)


@both
def test_the_layout_does_not_tell_where_the_corpus_lies(adapter: Adapter, root: Path, tmp_path: Path) -> None:
    here = adapter(root, SPLITS)
    there = shutil.copytree(root, tmp_path / "other place" / "deeper")
    assert adapter(there, SPLITS) == here
