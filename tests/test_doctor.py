"""The doctor's report: each state of a project is seen and says what to do."""

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from avfusion.config import load_params
from avfusion.corpora.adapters import corpus_root
from avfusion.corpora.sources import scan
from avfusion.corpora.table import Track, write_tracks
from avfusion.doctor import diagnose, print_report
from avfusion.presets import write_preset

ROOT = Path(__file__).parents[1]


@pytest.fixture
def corpus_project(tmp_path):
    """A project on an Aff-Wild2-shaped folder, scanned; no video is real, since none is opened."""
    project, data = tmp_path / "project", tmp_path / "data"
    for folder in ("videos", "cropped_aligned/a", "annotations/VA_Set/Train_Set", "annotations/AU_Set/Train_Set"):
        (data / folder).mkdir(parents=True)
    for name in ("a", "b"):
        (data / "videos" / f"{name}.mp4").write_bytes(b"video")
    (data / "cropped_aligned" / "a" / "00001.jpg").write_bytes(b"x" * 3000)
    for name in ("a", "gone"):
        (data / f"annotations/VA_Set/Train_Set/{name}.txt").write_text("valence,arousal\n0,0\n")
    (data / "annotations/AU_Set/Train_Set/a.txt").write_text("AU1\n1\n")
    (data / "annotations/VA_Set/Valence_Arousal_test_set_release.txt").write_text("b\n")
    (project / "configs").mkdir(parents=True)
    for path in (ROOT / "configs").glob("*.yaml"):
        (project / "configs" / path.name).write_bytes(path.read_bytes())
    (project / "dvc.yaml").write_text("stages: {}\n")
    write_preset(project, "affwild2", data)
    rescan(project)
    return project


def rescan(project):
    params = load_params(project / "params.yaml").corpus
    scan(corpus_root(project, params), params, project / "data" / "sources.txt")


def found(report):
    return {item.name: item for item in report.items}


def test_corpus_found_missing_and_left_out(corpus_project):
    report = diagnose(corpus_project)
    items = found(report)
    assert (items["params.yaml"].status, items["torch"].status) == ("ok", "ok")
    assert items["train"].status == "warn"
    assert items["train"].text == ("2 tracks of 2 videos; 1 without their video")
    assert (items["val"].status, items["val"].text) == ("warn", "0 tracks of 0 videos")
    assert items["test"].status == "ok"
    assert items["left out"].text == "annotations/AU_Set: 1 annotation files ignored (not valence-arousal)"
    assert items["scan"].status == "ok"
    assert report.tracks["gone"][0].startswith("no video 'gone'")
    assert not report.missing
    assert report.exit_code == 0
    assert items["size"].text.startswith("about 3 GB to download, 6 GB on disk")


def test_sources_that_changed_since_the_scan(corpus_project):
    video = corpus_root(corpus_project, load_params(corpus_project / "params.yaml").corpus) / "videos" / "a.mp4"
    video.write_bytes(b"other")
    item = found(diagnose(corpus_project))["scan"]
    assert item.status == "warn"
    assert "0 added, 0 removed, 1 changed since the last scan (videos/a.mp4" in item.text
    rescan(corpus_project)
    assert found(diagnose(corpus_project))["scan"].status == "ok"
    (corpus_project / "data" / "sources.txt").unlink()
    item = found(diagnose(corpus_project))["scan"]
    assert item.status == "missing"
    assert "run `avfusion scan`" in item.text


def test_bad_params_and_a_missing_corpus_are_findings(corpus_project):
    params = corpus_project / "params.yaml"
    good = params.read_text()
    params.write_text(good.replace("stride: 1 ", "stride: 3 "))
    report = diagnose(corpus_project)
    assert report.missing
    assert report.exit_code == 2
    assert "features.stride is 3" in found(report)["params.yaml"].text
    params.write_text("\n".join("  root: /not/here" if "  root: " in line else line for line in good.splitlines()))
    report = diagnose(corpus_project)
    item = found(report)["affwild2"]
    assert (item.status, report.exit_code) == ("missing", 2)
    assert "/not/here is missing" in item.text
    write_preset(corpus_project, "demo", force=True)
    for folder in ("", "data/raw/demo", "data/raw/demo/.partial/x", "data/raw/demo/videos"):
        (corpus_project / folder).mkdir(parents=True, exist_ok=True)
        report = diagnose(corpus_project)
        assert found(report)["demo"].text == "data/raw/demo is not rendered yet: run `make demo`"
        assert report.exit_code == 0


def test_a_package_that_is_missing_is_our_failure(corpus_project, monkeypatch):
    monkeypatch.setattr("avfusion.doctor.PACKAGES", ("torch", "no-such-package"))
    (corpus_project / "params.yaml").write_text("a: [")
    report = diagnose(corpus_project)
    assert found(report)["no-such-package"].status == "missing"
    assert report.exit_code == 1


def test_cost_and_failed_tracks_come_from_the_table(corpus_project):
    facts = {"split": "train", "video_path": "v.mp4", "crops_paths": (), "labels_path": "", "fps": 25.0}
    facts |= {"video_hash": "h", "crops_hash": "", "labels_hash": "", "label_rows": 0, "crops": 0}
    tracks = [
        Track(track=name, video="v", frames=90_000, duration_s=3600.0, has_audio=True, warnings=(), **facts)
        for name in ("v_left", "v_right")
    ]
    tracks.append(Track("w", "w", "val", "", (), "", "", "", "", 0, 0.0, 0.0, False, 9, 0, ("no video",)))
    write_tracks(corpus_project / "data" / "corpus" / "tracks.parquet", tracks)
    report = diagnose(corpus_project)
    item = found(report)["table of tracks"]
    assert (item.status, item.text) == ("warn", "3 tracks, 1 with warnings, 1 unusable: w")
    assert report.tracks == {"w": ("no video",)}
    assert (report.cost["tracks"], report.cost["frames"], report.cost["hours"]) == (2, 180_000, 1.0)
    assert report.cost["gigabytes"]["audio"] == pytest.approx(3600 * 88_200 / 1e9, abs=1e-3)
    assert report.cost["gigabytes"]["features"] == pytest.approx(180_000 * 1024 * 2 / 1e9, abs=1e-3)


def test_json_and_print_hold_the_same_findings(corpus_project):
    report = diagnose(corpus_project)
    back = json.loads(report.to_json())
    assert [item["text"] for item in back["items"]] == [item.text for item in report.items]
    stream = StringIO()
    print_report(report, Console(file=stream, width=200))
    printed = stream.getvalue()
    assert "look  corpus       train" in printed
    assert "gone: no video 'gone' below videos/" in printed
