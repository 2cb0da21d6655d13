"""Which times of earlier runs are those of making everything."""

import json
import os
from pathlib import Path

import pytest

from avfusion.doctor.last_runs import last_runs, whole_runs

ENDED, WALL = 1_700_000_000.0, 100.0
LOCK = """\
schema: '2.0'
stages:
  features:
    cmd: python pipelines/features.py
    params:
      params.yaml:
        features: {stride: 8}
        geometry: {fps: 25}
    outs:
    - path: data/features
    - path: reports/summary.csv
"""


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    """A project whose stage `features` has run for 100 s and made two files and a report."""
    (tmp_path / "params.yaml").write_text("features: {stride: 8}\ngeometry: {fps: 25}\ntrain: {epochs: 1}\n")
    (tmp_path / "dvc.lock").write_text(LOCK)
    times = tmp_path / ".avfusion" / "times"
    for folder in (times, tmp_path / "data" / "features", tmp_path / "reports"):
        folder.mkdir(parents=True)
    (times / "features.json").write_text(json.dumps({"wall_s": WALL, "cpu_s": 180.0}))
    os.utime(times / "features.json", (ENDED, ENDED))
    for name, age in (("data/features/a", 90.0), ("data/features/b", 10.0), ("reports/summary.csv", 0.1)):
        written(tmp_path / name, ENDED - age)
    return tmp_path


def written(path: Path, when: float) -> None:
    path.touch()
    os.utime(path, (when, when))


def whole(root: Path) -> bool:
    return "features" in whole_runs(root, last_runs(root))


def test_a_run_that_wrote_all_outs_with_these_parameters_is_whole(ran):
    assert whole(ran)
    time = last_runs(ran)["features"]
    assert (time.wall_s, time.cpu_s, time.ended) == (WALL, 180.0, ENDED)
    written(ran / "reports/summary.csv", ENDED + 60)
    assert whole(ran), "DVC put that file there again"


def test_a_file_that_was_kept_an_out_that_is_gone_and_outs_of_elsewhere_are_not(ran):
    written(ran / "data/features/c", ENDED - WALL - 60)
    assert not whole(ran), "c was there before the run"
    (ran / "data/features/c").unlink()
    (ran / "reports/summary.csv").unlink()
    assert not whole(ran)
    for name in ("data/features/a", "data/features/b", "reports/summary.csv"):
        written(ran / name, ENDED + 3600)
    assert not whole(ran), "all was checked out later"


def test_other_parameters_make_another_run(ran):
    params = ran / "params.yaml"
    params.write_text(params.read_text().replace("epochs: 1", "epochs: 2"))
    assert whole(ran), "no section of this stage"
    params.write_text(params.read_text().replace("stride: 8", "stride: 4"))
    assert not whole(ran)


@pytest.mark.parametrize("text", ["", "stages: [", "- a\n", "stages: {}\n"])
def test_without_a_lock_nothing_is_known(ran, text):
    (ran / "dvc.lock").write_text(text)
    assert not whole(ran)
    (ran / "dvc.lock").unlink()
    assert not whole(ran)


@pytest.mark.parametrize("text", ["", "{}", '{"wall_s": "x", "cpu_s": 1}', "[1]"])
def test_damaged_times_are_passed_over(ran, text):
    (ran / ".avfusion/times/features.json").write_text(text)
    assert last_runs(ran) == {}


def test_runs_before_the_table_of_tracks_or_on_another_corpus_are_told_apart(ran):
    times = ran / ".avfusion" / "times"
    for name, ended in (("render", 500), ("corpus", 1000), ("labels", 1000.5), ("train", 960), ("audio", 940)):
        (times / f"{name}.json").write_text(json.dumps({"wall_s": 50.0, "cpu_s": 1.0}))
        os.utime(times / f"{name}.json", (ENDED + ended, ENDED + ended))
    before = {name for name, run in last_runs(ran).items() if run.before}
    assert before == {"audio", "features"}
    assert all(run.before for run in last_runs(ran, other_corpus=True).values())
