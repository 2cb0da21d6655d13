"""What surrounds a stage's work: its own parameters, its times, and failures in one line."""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from avfusion.experiments.stage import stage
from avfusion.runtime.atomic import TEMPORARY_PREFIX, atomic_path, write_json, write_text
from avfusion.runtime.code_digest import existing_file
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.runtime.execution import raise_failures

ROOT = Path(__file__).parents[2]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")
    return tmp_path


def test_it_runs_in_the_root_with_its_sections_and_leaves_its_times(workspace: Path) -> None:
    with stage("train", "geometry") as s:
        assert (Path.cwd(), s.root, s.work) == (workspace, workspace, workspace / ".avfusion" / "train")
        assert s.params.geometry.clip_frames == 32
        assert "train" not in s.params
    times = json.loads((workspace / ".avfusion/times/train.json").read_text())
    assert sorted(times) == ["cpu_s", "wall_s"]


def test_further_processes_of_a_stage_leave_lock_clock_and_words_to_the_first(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with stage("train", "geometry"), stage("train", "geometry", rank=1) as second:
        assert second.params.geometry.clip_frames == 32
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("train: ")
    with pytest.raises(SystemExit) as ended, stage("train", "geometry", rank=2):
        raise BadInputError("why")
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: stage train (process 3): why\n"


def test_ctrl_c_is_one_line_that_says_how_to_go_on(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, stage("train", "geometry"):
        raise KeyboardInterrupt
    assert ended.value.code == 130
    assert capsys.readouterr().err == "stage train was interrupted; `dvc repro` continues from what it finished\n"
    with stage("train", "geometry"):  # its lock is free again
        pass


@pytest.mark.parametrize(("error", "code"), [(AVFusionError("why"), 1), (BadInputError("why"), 2)])
def test_errors_for_people_are_one_line(
    workspace: Path, capsys: pytest.CaptureFixture[str], error: AVFusionError, code: int
) -> None:
    with pytest.raises(SystemExit) as ended, stage("train", "geometry"):
        raise error
    assert ended.value.code == code
    assert capsys.readouterr().err == "error: stage train: why\n"
    assert not (workspace / ".avfusion/times/train.json").exists()


def test_a_second_one_beside_it_is_refused(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A killed DVC leaves its command running, and DVC starts another."""
    lock = workspace / ".avfusion" / "locks" / "train.lock"
    with stage("train", "geometry"):
        with stage("labels", "corpus"):
            pass
        with pytest.raises(SystemExit) as ended, stage("train", "geometry"):
            raise AssertionError("both run")
    assert ended.value.code == 1
    assert capsys.readouterr().err == (
        f"error: stage train: stage train is already running (it holds {lock}): "
        "wait for it, or end that process, and start again\n"
    )
    with stage("train", "geometry"):
        pass


def test_an_output_that_cannot_be_written_is_one_line_with_its_path(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workspace / "reports").write_text("a file in the place of a folder")
    with pytest.raises(SystemExit) as ended, stage("train", "geometry") as s:
        write_json(s.root / "reports" / "train" / "metrics.json", {})
    assert ended.value.code == 1
    assert capsys.readouterr().err == f"error: stage train: {workspace}/reports/train: Not a directory\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is of Linux")
def test_a_full_disk_is_one_line_with_the_path(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workspace / f"{TEMPORARY_PREFIX}{os.getpid()}-table.txt").symlink_to("/dev/full")
    with pytest.raises(SystemExit) as ended, stage("train", "geometry") as s:
        write_text(s.root / "table.txt", "values")
    assert ended.value.code == 1
    assert capsys.readouterr().err == f"error: stage train: {workspace}/table.txt: No space left on device\n"
    assert not (workspace / "table.txt").exists()
    with pytest.raises(SystemExit), stage("train", "geometry"), open("/dev/full", "wb", buffering=0) as stream:
        stream.write(b"values")
    assert capsys.readouterr().err == f"error: stage train: below {workspace}: No space left on device\n"


def test_what_failed_is_remembered_without_places_also_where_the_stage_fails(workspace: Path) -> None:
    remembered = workspace / ".avfusion" / "frames" / "failures.json"
    video = workspace / "data" / "raw" / "demo" / "videos" / "a.mp4"
    failures = {"a": f"{video} is truncated", "b": f"{workspace}/data/frames/b.parquet: no space"}
    expected = {"a": "videos/a.mp4 is truncated", "b": "data/frames/b.parquet: no space"}
    with pytest.raises(SystemExit) as ended, stage("frames", "corpus"):
        raise_failures("frames", failures, 3)
    assert ended.value.code == 1
    assert json.loads(remembered.read_text()) == expected
    with stage("frames", "corpus") as s:
        assert not remembered.exists()
        s.record_failures(failures)
    assert json.loads(remembered.read_text()) == expected


@pytest.mark.parametrize(
    ("deps", "unwatched"),
    [
        ("", "beside_it.py, own/watched.py, unwatched.py"),
        ("own", "beside_it.py, unwatched.py"),
        ("own, unwatched.py", "beside_it.py"),
        ("own, unwatched.py, beside_it.py", ""),
    ],
)
def test_files_of_the_project_that_dvc_does_not_watch_are_named_in_one_line(
    workspace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, deps: str, unwatched: str
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    existing_file.cache_clear()
    (workspace / "dvc.yaml").write_text(f"stages:\n  train:\n    deps: [{deps}]\n")
    (workspace / "unwatched.py").write_text("from beside_it import K\n\nTWICE = 2 * K\n")
    (workspace / "beside_it.py").write_text("K = 1\n")
    installed = workspace / ".venv" / "site-packages"
    for folder, name in ((workspace / "own", "watched"), (installed, "installed_thing")):
        folder.mkdir(parents=True)
        (folder / f"{name}.py").write_text("from avfusion.fusion import base\n")
    monkeypatch.syspath_prepend(str(installed))
    with stage("train", "geometry") as s:
        s.warn_of_unwatched(["avfusion.fusion.jca", "own.watched", "unwatched", "installed_thing"])
    existing_file.cache_clear()
    said = capsys.readouterr().out.splitlines()[:-1]
    assert said == (
        [
            f"warning: DVC does not notice edits of {unwatched}: move what the models need to own/, or add it to the "
            "deps of train in dvc.yaml"
        ]
        if unwatched
        else []
    )


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_others_may_read_what_the_user_lets_them_whoever_wrote_it(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        write_text(tmp_path / "text", "x")
        with atomic_path(tmp_path / "tensors") as temporary:
            save_file({"a": np.zeros(2)}, temporary)
        assert os.umask(mask) == mask, "it stays as it was"
    finally:
        os.umask(before)
    for name in ("text", "tensors"):
        assert (tmp_path / name).stat().st_mode & 0o777 == mode, name
