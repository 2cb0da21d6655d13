"""Own videos with the command line alone: a folder with manifest.csv, one preset, and what doctor says."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from avfusion.cli import main

ROOT = Path(__file__).parents[1]


@pytest.fixture
def avfusion(tmp_path, monkeypatch, capsys):
    """Runs a command in an empty project: exit status and output."""
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "dvc.yaml").write_text("stages: {}\n")
    monkeypatch.chdir(tmp_path / "project")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["avfusion", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, "".join(capsys.readouterr())

    return run


@pytest.fixture
def own(tmp_path):
    own = tmp_path / "own data"
    own.mkdir()
    for name in ("a.mp4", "b.mp4", "c.mp4", "a.csv"):
        (own / name).write_text("valence,arousal\n0,0\n")
    (own / "manifest.csv").write_text("video;split;labels\r\na.mp4;train;a.csv\r\nc.mp4;val;a.csv\r\nb.mp4;;\r\n")
    return own


def test_one_command_sets_a_project_to_own_videos(avfusion, own):
    code, out = avfusion("preset", "manifest", "--root", own)
    assert code == 0
    assert out.splitlines() == [
        "params.yaml: preset manifest",
        f"{own}: 3 tracks, 5 sources, 0 kB: 5 added, 0 removed, 0 changed",
        "next: `avfusion doctor` says what is missing and what a run costs, `make repro` runs the pipeline",
    ]
    sources = [line.split("\t")[0] for line in Path("data/sources.txt").read_text().splitlines()]
    assert sources == ["a.csv", "a.mp4", "b.mp4", "c.mp4", "manifest.csv"]
    code, out = avfusion("doctor", "--json")
    items = {item["name"]: (item["status"], item["text"]) for item in json.loads(out)["items"]}
    assert code == 0
    assert items["train"] == ("ok", "1 track of 1 video; 1 without crops (faces will be detected)")
    assert items["left out"] == ("ok", "1 track of no split: features only, neither trained on nor scored: b")
    assert items["scan"] == ("ok", "5 sources as scanned, 0 kB")
    with (own / "manifest.csv").open("a") as stream:
        stream.write("a.mp4;val;\r\n")
    code, out = avfusion("doctor", "--json")
    items = {item["name"]: (item["status"], item["text"]) for item in json.loads(out)["items"]}
    assert (code, items["manifest"][0]) == (2, "missing")
    assert items["manifest"][1].endswith("line 5: column track: 'a' is the track of line 2 already")


def test_groups_that_cross_splits_are_named_by_scan_and_doctor(avfusion, own):
    rows = ["a.mp4;train;a.csv;anna", "c.mp4;val;a.csv;anna", "b.mp4;;;"]
    (own / "manifest.csv").write_text("\n".join(["video;split;labels;group", *rows, ""]))
    crossing = "1 group in several splits: anna (train, val): scores of such a split are too high by what training"
    code, out = avfusion("preset", "manifest", "--root", own)
    assert code == 0
    assert "2 groups of 3 videos: anna (2)\n" in out
    assert f"warning: {crossing}" in out
    items = json.loads(avfusion("doctor", "--json")[1])["items"]
    groups = [(item["status"], item["text"][: len(crossing)]) for item in items if item["name"] == "groups"]
    assert sorted(groups) == [("ok", "2 groups of 3 videos: anna (2)"), ("warn", crossing)]


def test_a_folder_without_a_manifest_is_named(avfusion, own):
    (own / "manifest.csv").rename(own / "Videos.csv")
    code, out = avfusion("preset", "manifest", "--root", own)
    assert code == 2
    assert f"error: the manifest {own}/manifest.csv is missing: " in out
    assert "has Videos.csv, a.csv, a.mp4, b.mp4, c.mp4: set corpus.root, or corpus.manifest" in out
    params = Path("params.yaml").read_text()
    Path("params.yaml").write_text(params.replace("  manifest: null", "  manifest: Videos.csv"))
    assert avfusion("scan") == (0, f"{own}: 3 tracks, 5 sources, 0 kB: 5 added, 0 removed, 0 changed\n")


def test_scan_says_what_the_next_run_removes_and_may_find_nothing(avfusion, own):
    avfusion("preset", "manifest", "--root", own)
    for name in ("labels/a.parquet", "labels/old.parquet", "audio/old.wav", "audio/b.wav", "frames/.part-x"):
        path = Path("data", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    lock = "stages: {corpus: {params: {params.yaml: {corpus: {name: %s, root: %s}}}}}"
    Path("dvc.lock").write_text(lock % ("manifest", own))
    assert "note" not in avfusion("scan")[1]
    Path("dvc.lock").write_text(lock % ("demo", "data/raw/demo"))
    for command in (("scan",), ("preset", "manifest", "--root", own)):
        code, out = avfusion(*command)
        assert code == 0
        assert (
            "note: the pipeline last ran on the corpus demo in data/raw/demo: the next `dvc repro` removes 2 files of "
            "it below data/ (labels 1, audio 1) and remakes models/ and reports/; to keep them, use another clone"
        ) in out
    Path("dvc.lock").write_text("stages: [")
    assert "note" not in avfusion("scan")[1]
    own.rename(own.with_name("away"))
    scanned = Path("data/sources.txt").read_bytes()
    assert avfusion("scan", "--if-there") == (0, f"{own} is missing: the last scan is kept\n")
    assert avfusion("scan")[0] == 2
    assert Path("data/sources.txt").read_bytes() == scanned


def test_make_repro_scans_first():
    # --no-print-directory: under `make test` this is a make below a make, which would say where it enters and leaves
    command = ["make", "--no-print-directory", "-n", "repro"]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert lines.splitlines()[-2:] == [".venv/bin/avfusion scan --if-there", ".venv/bin/dvc repro"]
