"""`avfusion vouch`: results of refactored code are restamped where a sample of them is equal, and only there."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avfusion.backbones import catalogue, track_features
from avfusion.data import audio, audio_store, detected_crops, features, frame_labels, frame_store, frames, label_store
from avfusion.data import labels as label_files
from avfusion.doctor import libraries
from avfusion.experiments.vouch import git_identity, vouch
from avfusion.params.params import load_params
from avfusion.runtime.errors import AVFusionError, BadInputError

TRACKS = ("found", "mute", "pair_left", "pair_right")
STORES = {
    "labels": (label_store, label_files.read_stamp, TRACKS),
    "frames": (frame_store, frames.read_stamp, TRACKS),
    "audio": (audio_store, audio.read_stamp, ("found", "pair")),
    "features": (catalogue, features.read_stamp, TRACKS),
}


@pytest.fixture(scope="module")
def finished(make_project, tmp_path_factory, face_video, half_heard_video, silent_video):
    """Crops and detected faces, a pair, a video without sound; every stage has run. Not to be changed."""
    project = make_project(tmp_path_factory.mktemp("vouch") / "project")
    project.add(face_video, "pair_left", "pair_right", name="pair", crops=50)
    project.add(half_heard_video, name="found")
    project.add(silent_video, name="mute", crops=30)
    project.scan()
    project.update()
    return project


@pytest.fixture
def project(finished, tmp_path, monkeypatch):
    (tmp_path / "gitconfig").write_text("[user]\n\tname = Ada Lovelace\n\temail = ada@example.org\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    return type(finished)(Path(shutil.copytree(finished.root, tmp_path / "project")))


def vouch_for(project, stage, sample=5):
    return vouch(project.root, load_params(project.root / "params.yaml"), stage, sample)


def stamps(project, stage):
    _, read_stamp, names = STORES[stage]
    suffix = {"audio": "wav", "features": "safetensors"}.get(stage, "parquet")
    return {name: read_stamp(project.root / "data" / stage / f"{name}.{suffix}") for name in names}


def change_code(stage, monkeypatch):
    monkeypatch.setattr(STORES[stage][0], "unit_digest", lambda *names: f"new code of {names[0]}")


@pytest.mark.parametrize("stage", STORES)
def test_equal_results_are_restamped_and_kept(stage, project, monkeypatch):
    before = stamps(project, stage)
    change_code(stage, monkeypatch)
    done = vouch_for(project, stage, sample=1)
    names = STORES[stage][2]
    kinds = 2 if stage == "frames" else 1  # crops and detected faces
    assert (len(done.recomputed), done.restamped) == (kinds, len(names))
    for name, stamp in stamps(project, stage).items():
        (entry,) = stamp.vouched
        assert replace(stamp, code=before[name].code, vouched=()) == before[name]
        assert entry["by"] == "Ada Lovelace <ada@example.org>"
        assert (entry["from"], entry["to"]) == (before[name].code, stamp.code)
        assert stamp.code.startswith("new code of ")
        assert (entry["recomputed"], entry["of"]) == (kinds, len(names))
        assert entry["at"].endswith("+00:00")
    for later in STORES:
        report = project.update(stages=[later])[later]
        assert (report.made, report.removed, report.failed) == ((), (), {}), later


def test_a_second_refactoring_is_recorded_behind_the_first(project, monkeypatch):
    change_code("labels", monkeypatch)
    vouch_for(project, "labels")
    monkeypatch.setattr(label_store, "unit_digest", lambda unit: "newer code")
    vouch_for(project, "labels")
    assert [entry["to"] for entry in stamps(project, "labels")["mute"].vouched] == ["new code of labels", "newer code"]


def halved(table):
    return replace(table, valence=table.valence / 2)


def test_differences_are_shown_and_nothing_is_restamped(project, monkeypatch, capsys):
    contents = project.contents()
    change_code("labels", monkeypatch)
    write = label_files.write_labels
    monkeypatch.setattr(frame_labels, "write_labels", lambda table, path, wanted: write(halved(table), path, wanted))
    with pytest.raises(AVFusionError, match=r"labels: 4 of 4 recomputed results differ .* nothing was restamped"):
        vouch_for(project, "labels")
    shown = capsys.readouterr().out
    assert "mute: valence: 19 of 20 values, by 0.19 at most (at [19]: 0.38, now 0.19)" in shown
    assert project.contents() == contents


def test_other_pictures_are_told_from_other_bytes(project, monkeypatch, capsys):
    change_code("frames", monkeypatch)
    encode = frames.encode_crop
    monkeypatch.setattr(detected_crops, "encode_crop", lambda rgb, quality: encode(255 - rgb, quality))
    with pytest.raises(AVFusionError, match="frames: 1 of 2 recomputed"):
        vouch_for(project, "frames", sample=1)
    assert "found: jpeg: pixels differ by 2" in capsys.readouterr().out
    monkeypatch.setattr(detected_crops, "encode_crop", lambda rgb, quality: encode(rgb, quality) + b"\0")
    with pytest.raises(AVFusionError, match="frames: 1 of 2 recomputed"):
        vouch_for(project, "frames", sample=1)
    assert "crops have other bytes and the same pixels" in capsys.readouterr().out


def test_features_and_sound_that_differ_are_told_with_their_place(project, monkeypatch, capsys):
    change_code("features", monkeypatch)
    write = features.write_features

    def write_another(path, table, wanted):
        changed = table.audio.copy()
        changed[1, 3] += np.float16(0.5)
        write(path, replace(table, audio=changed), wanted)

    monkeypatch.setattr(track_features, "write_features", write_another)
    with pytest.raises(AVFusionError, match="nothing was restamped, and `dvc repro features` makes all of them anew"):
        vouch_for(project, "features", sample=1)
    assert "audio: 1 of " in (shown := capsys.readouterr().out)
    assert "by 0.5 at most (at [1, 3]: " in shown


@pytest.mark.parametrize("stage", ["render", "labels", "frames", "audio", "features"])
def test_nothing_to_vouch_for_is_said(stage, project):
    with pytest.raises(BadInputError, match=f"{stage}: there is nothing to vouch for: "):
        vouch_for(project, stage)


def test_results_of_other_inputs_and_missing_ones_are_not_vouched_for(project, monkeypatch):
    change_code("labels", monkeypatch)
    (project.root / "data" / "labels" / "found.parquet").unlink()
    labels = project.raw / "annotations" / "VA_Set" / "Train_Set" / "mute.txt"
    labels.write_text(labels.read_text() + "0.5,0.5\n")
    project.scan()
    assert vouch_for(project, "labels").restamped == 2
    with pytest.raises(
        BadInputError, match=r"2 results are current, 1 were made from other inputs .*, 1 have no stamp"
    ):
        vouch_for(project, "labels")


def test_somebody_has_to_vouch(project, monkeypatch, tmp_path):
    change_code("labels", monkeypatch)
    (tmp_path / "gitconfig").write_text("[user]\n\tname = Ada Lovelace\n")
    with pytest.raises(BadInputError, match=r"git does not know who vouches: set `git config user\.name`"):
        vouch_for(project, "labels")
    assert not any(stamp.vouched for stamp in stamps(project, "labels").values())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadInputError, match="git does not know"):
        git_identity(project.root)


def test_the_command_names_the_stages(project):
    command = [sys.executable, "-m", "avfusion.cli", "vouch", "lables"]
    done = subprocess.run(command, cwd=project.root, capture_output=True, text=True, env=os.environ | {"DVC_ROOT": ""})
    assert done.returncode == 2
    assert done.stderr.startswith("error: unknown stage 'lables': must be one of render, labels, frames, ")
    assert done.stderr.count("\n") == 1


def test_doctor_says_when_libraries_differ(project, monkeypatch):
    assert libraries.look_at_libraries(project.root) == []
    now = dict(libraries.library_versions()) | {"numpy": "99.0"}
    monkeypatch.setattr(libraries, "library_versions", lambda: now)
    found = libraries.look_at_libraries(project.root)
    assert {item.name for item in found} >= {f"libraries of {stage}" for stage in STORES}
    (item,) = [item for item in found if item.name == "libraries of audio"]
    assert (item.section, item.status) == ("environment", "warn")
    assert "(2 of 2); in use: numpy 99.0" in item.text
