"""A tree with every irregularity of Aff-Wild2, up to the table of tracks: each is reported once, and correctly."""

import shutil
from pathlib import Path

import pytest

from avfusion.corpora.adapters import open_corpus
from avfusion.corpora.settings import CorpusSettings
from avfusion.corpora.source_hashes import crops_source
from avfusion.corpora.sources import scan
from avfusion.corpora.table import Track, write_tracks
from avfusion.data.label_store import update_labels
from avfusion.data.labels import read_labels
from avfusion.data.tracks import build_tracks
from avfusion.doctor import Report, diagnose
from avfusion.params.write_preset import write_preset
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.runtime.settings import ExecutionSettings
from tests.affwild2_tree import EDITION, LATER_EDITION, VIDEOS, Tree, add_later_edition, make_tree

ROOT = Path(__file__).parents[2]
SERIAL = ExecutionSettings(executor="serial", workers=1)
UNREADABLE = "unreadable video: videos/batch1/video71.mp4: is truncated or damaged: its header promises 1."


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return make_tree(tmp_path_factory.mktemp("affwild2"), seconds=1.2, size=96)


@pytest.fixture(scope="module")
def sources(tree: Tree, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scan") / "sources.txt"
    scan(tree.root, CorpusSettings(name="affwild2"), path)
    return path


@pytest.fixture(scope="module")
def tracks(tree: Tree, sources: Path) -> dict[str, Track]:
    params = CorpusSettings(name="affwild2")
    found = build_tracks(tree.root, params, sources, execution=SERIAL, on_error="skip")
    return {track.track: track for track in found}


def _own(track: Track) -> tuple[str, ...]:
    """Its warnings, those that hold numbers of FFmpeg's making left out."""
    return tuple(text for text in track.warnings if not text.startswith(UNREADABLE))


def test_every_irregularity_is_in_the_table_once(tree: Tree, tracks: dict[str, Track]) -> None:
    assert {name: _own(track) for name, track in tracks.items() if _own(track)} == tree.warnings
    assert len(tracks["video71"].warnings) == 1
    assert {name: track.frames for name, track in tracks.items() if track.frames} == tree.frames


def test_splits_are_those_of_the_chosen_set(tracks: dict[str, Track]) -> None:
    planned = {track: video.split for video in VIDEOS for track in video.tracks}
    assert {name: track.split for name, track in tracks.items() if name in planned} == planned
    assert tracks.keys() - planned.keys() == {"gone-25-640x360", "lost-1_left"}


def test_two_people_share_a_video(tracks: dict[str, Track]) -> None:
    for left, right in (("106-30-1280x720_left", "106-30-1280x720_right"), ("video92", "video92_right")):
        assert tracks[left].video == tracks[right].video
        assert tracks[left].video_hash == tracks[right].video_hash != ""


def test_without_permission_to_skip_the_truncated_video_is_the_one_error(tree: Tree, sources: Path) -> None:
    with pytest.raises(AVFusionError, match=r"^corpus: videos: 1 of 21 failed: videos/batch1/video71\.mp4: is trunc"):
        build_tracks(tree.root, CorpusSettings(name="affwild2"), sources, execution=SERIAL)


def test_labels_hold_for_the_frames_that_have_them(tree: Tree, tracks: dict[str, Track], tmp_path: Path) -> None:
    usable = [track for track in tracks.values() if track.frames]
    update_labels(tmp_path, tree.root, usable, SERIAL)
    made = {path.stem for path in tmp_path.iterdir()}
    assert made == tree.labelled.keys() - {"video71"}
    for name in made:
        table = read_labels(tmp_path / f"{name}.parquet")
        expected = tree.labelled[name]
        assert table.valid.tolist() == expected[: len(table)].tolist()
        assert not expected[len(table) :].any()


def test_litter_counts_neither_as_a_crop_nor_in_its_hash(tree: Tree, tmp_path: Path) -> None:
    folder = tmp_path / "crops"
    folder.mkdir()
    (folder / "00001.jpg").write_bytes(b"one")
    before = crops_source(folder)
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "._00001.jpg").write_bytes(b"x")
    (folder / "more").mkdir()
    (folder / ".DS_Store").write_bytes(b"x")
    assert crops_source(folder) == before
    assert before.size == 3


@pytest.fixture
def project(tree: Tree, tmp_path: Path) -> Path:
    """A project with the preset for the tree."""
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    write_preset(tmp_path, "affwild2", tree.root)
    return tmp_path


def _left_out(report: Report) -> list[str]:
    return [item.text for item in report.items if item.name == "left out"]


def test_the_doctor_says_what_the_table_and_the_folders_say(
    project: Path, tree: Tree, tracks: dict[str, Track], sources: Path
) -> None:
    (project / "data").mkdir()
    (project / "data" / "sources.txt").write_bytes(sources.read_bytes())
    before = diagnose(project)
    items = {item.name: item.text for item in before.items}
    assert items["train"] == ("17 tracks of 15 videos; 2 without their video; 1 without crops (faces will be detected)")
    assert items["test"] == "5 tracks of 4 videos; 2 without crops (faces will be detected)"
    assert sorted(_left_out(before)) == sorted(tree.notes)
    write_tracks(project / "data" / "corpus" / "tracks.parquet", list(tracks.values()))
    after = diagnose(project)
    assert after.tracks == {name: track.warnings for name, track in tracks.items() if track.warnings}
    assert sorted(_left_out(after)) == sorted(tree.notes)
    assert (before.exit_code, after.exit_code) == (0, 0)


def test_a_later_edition_beside_the_first_must_be_decided(tree: Tree, project: Path) -> None:
    small = project / "data" / "small"
    shutil.copytree(tree.root / "annotations", small / "annotations")
    (small / "videos").mkdir()
    files = add_later_edition(small)
    with pytest.raises(BadInputError, match=rf"several .*annotations/{LATER_EDITION}, annotations/{EDITION}: name one"):
        open_corpus(CorpusSettings(name="affwild2"), small)
    later = open_corpus(CorpusSettings(name="affwild2", annotations=LATER_EDITION), small)
    assert {track.track: track.split for track in later.tracks}["somebody"] == "test"
    assert {track.split for track in later.tracks if track.track.startswith("video49")} == {"val"}
    first = open_corpus(CorpusSettings(name="affwild2", annotations=EDITION), small)
    ignored = f"annotations/{LATER_EDITION}: {files} annotation files ignored (valence-arousal set not chosen)"
    assert ignored in first.notes
    assert {track.split for track in first.tracks if track.track.startswith("video49")} == {"test"}
    write_preset(project, "affwild2", small)
    report = diagnose(project)
    assert report.exit_code == 2
    assert "name one in corpus.annotations" in next(item.text for item in report.items if item.name == "affwild2")
