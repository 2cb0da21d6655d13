"""A corpus that changes: only what changed is computed, and the outs are those of a corpus made from scratch."""

import shutil
from pathlib import Path

import pytest

from avfusion.backbones import catalogue
from avfusion.data import audio_store, frame_store, label_store, tracks

WHOLE = {"data/corpus/tracks.parquet", "reports/faces/summary.csv"}  # tables of the whole corpus
FOLDERS = {
    "labels": ["data/labels"],
    "frames": ["data/frames", "reports/faces"],
    "audio": ["data/audio"],
    "features": ["data/features"],
}
TRACKS = ("found", "mute", "pair_left", "pair_right")


@pytest.fixture(scope="module")
def finished(make_project, tmp_path_factory, face_video, half_heard_video, silent_video):
    """Crops and detected faces, a pair, a video without sound; every stage has run. Not to be changed."""
    project = make_project(tmp_path_factory.mktemp("incremental") / "project")
    project.add(face_video, "pair_left", "pair_right", name="pair", crops=50)
    project.add(half_heard_video, name="found")
    project.add(silent_video, name="mute", crops=30)
    project.scan()
    made = {stage: report.made for stage, report in project.update().items()}
    assert made == {"labels": TRACKS, "frames": TRACKS, "audio": ("found", "pair"), "features": TRACKS}
    return project


@pytest.fixture
def project(finished, tmp_path):
    return type(finished)(Path(shutil.copytree(finished.root, tmp_path / "project")))


def touched(project, before: dict[str, tuple[int, int]]) -> set[str]:
    """Files other than those before: made, made anew, or gone."""
    after = project.identities()
    return {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)} - WHOLE


def files_of(tracks: tuple[str, ...], sounds: tuple[str, ...]) -> set[str]:
    """The files that all stages make of these tracks and of the sound of these videos."""
    patterns = (
        "data/labels/{}.parquet",
        "data/frames/{}.parquet",
        "data/features/{}.safetensors",
        "reports/faces/{}.jpg",
    )
    made = {pattern.format(track) for pattern in patterns for track in tracks}
    return made | {f"data/audio/{video}.wav" for video in sounds}


def test_one_video_is_added_changed_removed_and_nothing_else_is_computed(
    project, make_project, tmp_path, faceless_video, short_video
):
    before = project.identities()
    project.add(faceless_video, name="new")
    project.scan()
    for stage, report in project.update().items():
        assert (report.made, report.removed, report.failed) == (("new",), (), {}), stage
    assert touched(project, before) == files_of(("new",), ("new",))

    before = project.identities()
    project.add(short_video, name="found", labels=45)
    project.scan()
    for stage, report in project.update().items():
        assert (report.made, report.removed, report.failed) == (("found",), (), {}), stage
    assert touched(project, before) == files_of(("found",), ("found",))

    before = project.identities()
    project.remove("pair", "pair_left", "pair_right")
    project.scan()
    for stage, report in project.update().items():
        gone = ("pair",) if stage == "audio" else ("pair_left", "pair_right")
        assert (report.made, report.removed, report.failed) == ((), gone, {}), stage
    assert touched(project, before) == files_of(("pair_left", "pair_right"), ("pair",))

    fresh = make_project(tmp_path / "fresh")
    shutil.copytree(project.raw, fresh.raw)
    fresh.scan()
    fresh.update()
    assert project.contents() == fresh.contents()
    assert fresh.contents().keys() == files_of(("found", "mute", "new"), ("found", "new")) | WHOLE


def test_changed_labels_and_crops_concern_what_is_made_of_them(project):
    before = project.identities()
    labels = project.raw / "annotations" / "VA_Set" / "Train_Set" / "mute.txt"
    labels.write_text(labels.read_text() + "0.5,0.5\n")
    (project.raw / "cropped_aligned" / "pair_left" / "00050.jpg").unlink()
    project.scan()
    made = {stage: report.made for stage, report in project.update().items()}
    assert made == {"labels": ("mute",), "frames": ("pair_left",), "audio": (), "features": ("pair_left",)}
    crops = ["data/frames/pair_left.parquet", "reports/faces/pair_left.jpg", "data/features/pair_left.safetensors"]
    assert touched(project, before) == {"data/labels/mute.parquet", *crops}


@pytest.mark.parametrize("stage", FOLDERS)
def test_other_code_remakes_every_file_of_its_stage(project, stage, monkeypatch):
    before = project.identities(*FOLDERS[stage])
    contents = project.contents()
    module = {"labels": label_store, "frames": frame_store, "audio": audio_store, "features": catalogue}[stage]
    monkeypatch.setattr(module, "unit_digest", lambda *names: "other code")
    report = project.update(stages=[stage])[stage]
    assert report.made == (("found", "pair") if stage == "audio" else TRACKS)
    assert report.kept == ()
    after = project.identities(*FOLDERS[stage])
    remade = {path for path in before if before[path] != after[path]}
    assert remade - WHOLE == before.keys() - WHOLE
    changed = {path for path, content in project.contents().items() if content != contents[path]}
    assert changed == before.keys() - WHOLE, "the stamp inside each is another one"
    later = list(FOLDERS)[list(FOLDERS).index(stage) + 1 :]
    assert all(not report.made for report in project.update(stages=later).values()), "the contents are the same"


def test_code_of_one_kind_of_frames_concerns_that_kind(project, monkeypatch):
    real = frame_store.unit_digest
    monkeypatch.setattr(frame_store, "unit_digest", lambda unit: "other" if unit == "faces" else real(unit))
    assert project.update(stages=["frames"])["frames"].made == ("found",)
    monkeypatch.setattr(frame_store, "unit_digest", lambda unit: "other" if unit in ("faces", "crops") else real(unit))
    assert project.update(stages=["frames"])["frames"].made == ("mute", "pair_left", "pair_right")


def test_other_code_of_the_probe_asks_every_video_again(project, monkeypatch, capsys):
    project.scan()
    assert "probing" not in capsys.readouterr().out
    monkeypatch.setattr(tracks, "unit_digest", lambda unit: "other code")
    contents = project.contents("data/corpus")
    project.scan()
    assert "probing videos: 3/3" in capsys.readouterr().out
    assert project.contents("data/corpus") == contents
