"""The doctor's findings: each state of a project is seen, said once, and says what to do."""

import json
import os
import shutil

import pytest

from avfusion.doctor import diagnose
from avfusion.doctor.environment import check_packages
from avfusion.doctor.report import Item, Report
from avfusion.params.write_preset import write_preset


def found(report):
    return {item.name: item for item in report.items}


def left_out(report):
    return [item.text for item in report.items if item.name == "left out"]


def test_corpus_found_missing_and_left_out(corpus_project):
    report = diagnose(corpus_project)
    items = found(report)
    assert items["params.yaml"].status == "ok"
    assert items["packages"].text.startswith("Python 3.")
    assert "torch 2." in items["packages"].text
    assert items["train"].status == "warn"
    assert items["train"].text == "2 tracks of 2 videos; 1 without their video"
    assert (items["val"].status, items["val"].text) == ("ok", "1 track of 1 video")
    assert items["test"].status == "ok"
    assert items["test"].text == "1 track of 1 video; 1 without crops (faces will be detected)"
    assert left_out(report) == ["annotations/AU_Set: 1 annotation files ignored (not valence-arousal)"]
    assert items["scan"].status == "ok"
    assert items["table of tracks"].text == "not made yet: run `dvc repro`"
    train = report.splits["train"]
    assert (train.tracks, train.videos, train.no_video, train.no_crops, train.warned) == (2, 2, 1, 0, 1)
    assert report.tracks["gone"][0].startswith("no video 'gone'")
    assert report.tracks["b"] == ("no crops: faces are detected in the video",)
    assert not report.missing
    assert report.exit_code == 0
    assert items["size"].text.startswith("about 3 GB to download, 6 GB on disk")
    gravest_first = [("missing", "warn", "ok").index(item.status) for item in report.items]
    assert gravest_first == sorted(gravest_first)


def test_no_image_and_no_video_is_opened(corpus_project, rescan):
    """Pipes in place of crops: whoever opened one would wait for ever. And the videos hold no video."""
    crops = corpus_project.parent / "data" / "cropped_aligned" / "a"
    (crops / "00001.jpg").unlink()
    for number in (1, 2, 3):
        os.mkfifo(crops / f"{number:05d}.jpg")
    rescan(corpus_project)
    report = diagnose(corpus_project)
    assert found(report)["scan"].status == "ok"
    assert sorted(report.tracks) == ["b", "gone"]
    assert report.splits["train"].unreadable == 0


def test_sources_that_changed_since_the_scan(corpus_project, rescan):
    data = corpus_project.parent / "data"
    (data / "videos" / "a.mp4").write_bytes(b"other")
    (data / "cropped_aligned" / "b").mkdir()
    item = found(diagnose(corpus_project))["scan"]
    assert item.status == "warn"
    assert item.text == (
        "1 added, 0 removed, 1 changed since the last scan, run `avfusion scan`, then `dvc repro`: "
        "cropped_aligned/b/, videos/a.mp4"
    )
    rescan(corpus_project)
    assert found(diagnose(corpus_project))["scan"].status == "ok"
    (corpus_project / "data" / "sources.txt").unlink()
    item = found(diagnose(corpus_project))["scan"]
    assert item.status == "missing"
    assert "run `avfusion scan`" in item.text


def test_bad_params_hide_nothing_of_the_corpus(corpus_project):
    params = corpus_project / "params.yaml"
    params.write_text(params.read_text().replace("stride: 1 ", "stride: 3 "))
    report = diagnose(corpus_project)
    assert report.exit_code == 2
    assert "features.stride is 3" in found(report)["params.yaml"].text
    assert report.cost is None
    assert found(report)["train"].text.startswith("2 tracks")
    params.write_text("a: [")
    assert [item.name for item in diagnose(corpus_project).items if item.status == "missing"] == ["params.yaml"]


def test_a_missing_corpus_is_a_finding(corpus_project):
    params = corpus_project / "params.yaml"
    lines = params.read_text().splitlines()
    params.write_text("\n".join("  root: /not/here" if "  root: " in line else line for line in lines))
    report = diagnose(corpus_project)
    item = found(report)["affwild2"]
    assert (item.status, report.exit_code, report.cost) == ("missing", 2, None)
    assert "/not/here is missing" in item.text


def test_a_demo_that_is_not_rendered_is_no_fault_and_its_cost_is_known(corpus_project):
    write_preset(corpus_project, "demo", force=True)
    for folder in ("", "data/raw/demo", "data/raw/demo/.partial/x", "data/raw/demo/videos"):
        (corpus_project / folder).mkdir(parents=True, exist_ok=True)
        report = diagnose(corpus_project)
        assert found(report)["demo"].text == "data/raw/demo is not rendered yet: run `make demo`"
        assert report.exit_code == 0
    assert report.cost.stages[0].stage == "render"
    assert (report.cost.tracks, report.cost.frames, report.cost.unrendered) == (88, 60_500, True)
    assert 200 < sum(stage.cpu_s for stage in report.cost.stages) < 1800


def test_files_of_another_corpus_that_the_next_run_removes(corpus_project):
    lock = "stages: {corpus: {params: {params.yaml: {corpus: {name: demo, root: data/raw/demo}}}}}"
    (corpus_project / "dvc.lock").write_text(lock)
    times = corpus_project / ".avfusion" / "times" / "features.json"
    times.parent.mkdir(parents=True)
    times.write_text('{"wall_s": 100.0, "cpu_s": 180.0}')
    assert "other corpus" not in found(diagnose(corpus_project)), "there are no files of it"
    (corpus_project / "data" / "labels").mkdir()
    (corpus_project / "data" / "labels" / "train-1.parquet").touch()
    report = diagnose(corpus_project)
    assert found(report)["other corpus"].text.startswith(
        "the pipeline last ran on the corpus demo in data/raw/demo: the next `dvc repro` removes 1 file of it"
    )
    features = next(stage for stage in report.cost.stages if stage.stage == "features")
    assert (features.last_run_s, features.last_run_before) == (100.0, True)
    write_preset(corpus_project, "manifest", corpus_project.parent / "data", force=True)
    assert "other corpus" not in found(diagnose(corpus_project)), "there is no manifest"
    (corpus_project / "dvc.lock").write_text(lock.replace("demo, root: data/raw/demo", "affwild2, root: /raw"))
    write_preset(corpus_project, "demo", force=True)
    assert "the corpus affwild2 in /raw" in found(diagnose(corpus_project))["other corpus"].text


def test_weights_that_are_not_there(corpus_project):
    params = corpus_project / "params.yaml"
    params.write_text(params.read_text().replace("weights: kinetics400 ", "weights: mine/v.safetensors "))
    report = diagnose(corpus_project)
    item = found(report)["backbones.visual.weights"]
    assert (item.status, item.text, report.exit_code) == ("missing", "mine/v.safetensors does not exist", 2)
    (corpus_project / "mine").mkdir()
    (corpus_project / "mine" / "v.safetensors").touch()
    assert "backbones.visual.weights" not in found(diagnose(corpus_project))


def test_a_split_that_cannot_train_is_missing_with_what_to_do(corpus_project, rescan):
    data = corpus_project.parent / "data"
    (data / "annotations/VA_Set/Validation_Set/v.txt").unlink()
    rescan(corpus_project)
    report = diagnose(corpus_project)
    item = found(report)["training"]
    assert (item.status, report.exit_code) == ("missing", 2)
    assert item.text == (
        "no model can be trained: the split val is empty: put annotation files into a folder Validation_Set"
    )
    (data / "videos/a.mp4").unlink()
    rescan(corpus_project)
    assert (
        "no labelled track of the split train has a video that can be read"
        in found(diagnose(corpus_project))["training"].text
    )


def test_packages_that_are_missing_or_of_another_version_are_our_failure():
    requirements = ["numpy>=2", "no-such-package>=1", "pyyaml<1", "also-none>=1; extra == 'dev'"]
    requirements += ["avfusion[track]; extra == 'sweep'", "none-either>=1; extra == 'track'"]
    versions, items = check_packages(requirements)
    assert versions.keys() == {"numpy", "pyyaml"}
    missing = ("no-such-package", "pyyaml", "none-either")
    assert {item.name: item.status for item in items} == dict.fromkeys(missing, "missing")
    texts = {item.name: item.text for item in items}
    assert texts["no-such-package"] == "not installed: run `make setup`"
    assert texts["pyyaml"] == f"{versions['pyyaml']} is installed, <1 is needed: run `make setup`"
    bad_data = Item("corpus", "affwild2", "missing", "…")
    assert Report((*items, bad_data)).exit_code == 1
    assert Report((bad_data,)).exit_code == 2
    assert Report(()).exit_code == 0


def test_annotations_that_the_labels_stage_will_refuse_are_all_named(corpus_project, rescan):
    folder = corpus_project.parent / "data/annotations/VA_Set/Train_Set"
    (folder / "a.txt").write_text("valence,arousal\n0,0\n2,0\n")
    (folder / "b2.txt").write_text("Neutral,Anger\n0,0\n")
    rescan(corpus_project)
    report = diagnose(corpus_project)
    item = found(report)["labels"]
    assert (item.status, report.exit_code) == ("missing", 2)
    assert "2 of 4 annotation files" in item.text
    assert "Train_Set/a.txt, line 3: '2,0': out of [-1, 1]" in item.text
    assert "Train_Set/b2.txt, line 1: 'Neutral,Anger'" in item.text


def replace_by(kind, path):
    path.unlink()
    if kind == "link":
        path.symlink_to("/nowhere")
    else:
        os.mkfifo(path)


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_labels_that_are_no_file_are_named(corpus_project, kind):
    place = "annotations/VA_Set/Train_Set/a.txt"
    replace_by(kind, corpus_project.parent / "data" / place)
    report = diagnose(corpus_project)
    assert found(report)["affwild2"].text == (
        f"1 files of the corpus cannot be read: {place} (no regular file, or a broken link): repair or remove them"
    )
    assert report.exit_code == 2


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_video_that_is_no_file_is_named_and_costs_only_its_track(corpus_project, kind):
    replace_by(kind, corpus_project.parent / "data" / "videos" / "a.mp4")
    items = found(diagnose(corpus_project))
    assert (items["videos"].status, items["videos"].text) == (
        "warn",
        "1 are no regular files, or broken links: videos/a.mp4",
    )
    assert "train" in items


def test_contradictions_of_the_corpus_are_findings(corpus_project):
    annotations = corpus_project.parent / "data" / "annotations"
    shutil.copy(annotations / "VA_Set/Train_Set/a.txt", annotations / "VA_Set/Validation_Set/a.txt")
    text = found(diagnose(corpus_project))["affwild2"].text
    assert "tracks in two splits: a (annotations/VA_Set/Train_Set/a.txt and annotations/VA_Set/Valid" in text
    shutil.copytree(annotations / "VA_Set" / "Train_Set", annotations / "VA_Estimation_Challenge" / "Train_Set")
    text = found(diagnose(corpus_project))["affwild2"].text
    assert "several valence-arousal sets: annotations/VA_Estimation_Challenge, annotations/VA_Set: name one" in text


def test_json_has_all_keys_in_every_state(corpus_project):
    report = diagnose(corpus_project)
    values = json.loads(report.to_json())
    keys = {"cost", "environment", "exit_code", "items", "lag", "splits", "tracks", "tuning"}
    assert values.keys() == keys
    assert [item["text"] for item in values["items"]] == [item.text for item in report.items]
    assert values["environment"].keys() == {"cores", "free_disk_gb", "gpus", "memory_gb", "versions"}
    assert {"python", "torch", "dvc"} <= values["environment"]["versions"].keys()
    assert values["splits"].keys() == {"train", "val", "test"}
    assert values["cost"]["stages"][0].keys() == {
        "stage", "work", "cpu_s", "wall_s", "gigabytes", "basis", "last_run_s", "last_run_before",
    }  # fmt: skip
    assert values["tracks"]["gone"] == list(report.tracks["gone"])
    assert (values["exit_code"], values["tuning"]) == (0, None)
    (corpus_project / "params.yaml").unlink()
    values = json.loads(diagnose(corpus_project).to_json())
    assert values.keys() == keys
    assert (values["exit_code"], values["cost"], values["tracks"]) == (2, None, {})
