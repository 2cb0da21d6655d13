"""A disk that is full, and one that may not be written: named with the file; what is whole stays, a rerun goes on."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from avfusion.data.audio import write_audio
from avfusion.inference.analysis import Person
from avfusion.media.timeline import read_timeline
from avfusion.presentation.model_card import ModelCard
from avfusion.presentation.output import Target
from avfusion.presentation.pictures import Pictures
from avfusion.runtime.atomic import atomic_path
from avfusion.runtime.errors import AVFusionError
from avfusion.training.checkpoints import CHECKPOINT, save_checkpoint
from tests.presentation.test_overlay import predictions
from tests.small_disk import mount

STORES = {"labels": 4, "frames": 4, "audio": 64}  # stage, and KiB that hold one or two of its three files


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("stage", STORES)
def test_a_full_disk_is_named_keeps_what_is_whole_and_a_rerun_goes_on(project, disk, stage, tmp_path):
    for step in (lambda: project.avfusion("scan"), lambda: project.run("corpus"), lambda: project.run(stage)):
        assert step().code == 0
    store = project.root / "data" / stage
    undisturbed = contents(store)
    assert len(undisturbed) == 3
    store.rename(tmp_path / "undisturbed")
    enlarge = disk(store, STORES[stage])
    done = project.run(stage)
    assert done.code == 1
    assert f"{stage}: " in done.error
    assert "No space left on device" in done.error
    assert done.error.count("\n") == 1
    some = contents(store)
    assert 0 < len(some) < 3
    assert some.items() <= undisturbed.items()
    before = {name: (store / name).stat().st_mtime_ns for name in some}
    enlarge(4096)
    done = project.run(stage)
    assert done.code == 0
    assert f"{stage}: {3 - len(some)} made, {len(some)} kept" in done.out
    assert contents(store) == undisturbed
    assert {name: (store / name).stat().st_mtime_ns for name in some} == before


def test_every_writer_says_that_the_disk_is_full(disk, tmp_path):
    folder = tmp_path / "disk"
    disk(folder, 64)

    def at(name: str, write: Callable[[Path], object]) -> Callable[[], None]:
        def run() -> None:
            with atomic_path(folder / name) as temporary:
                write(temporary)

        return run

    for name, write in {
        "a.wav": at("a.wav", lambda path: write_audio(path, np.zeros(40_000))),
        "a.safetensors": at("a.safetensors", lambda path: save_file({"a": torch.zeros(50_000)}, path)),
        "a.txt": at("a.txt", lambda path: path.write_text("x" * 200_000)),
        CHECKPOINT: lambda: save_checkpoint(folder, {"a": torch.zeros(50_000)}),
    }.items():
        with pytest.raises(OSError, match="No space left on device") as caught:
            write()
        assert caught.value.filename == str(folder / name)
        assert list(folder.iterdir()) == []


def test_an_overlay_that_does_not_fit_is_named_and_nothing_of_it_stays(disk, tmp_path, silent_video):
    folder = tmp_path / "disk"
    disk(folder, 24)
    times = read_timeline(silent_video).times_s
    table = predictions(times)
    person = Person("", table, np.full((len(times), 4), np.nan))
    target = Target(silent_video, folder / "silent.csv")
    card = ModelCard("jca", "", "", "", {}, {}, "")
    for picture, name in (
        (Pictures(overlay=True), "silent.overlay.mp4"),
        (Pictures(report=True), "silent.report.html"),
    ):
        with pytest.raises(AVFusionError, match=rf"{name}: No space left on device"):
            picture.write(target, [person], card, warnings=(), origin={}, force=False, progress=lambda *step: None)
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("kib", "temporary", "words"),
    [
        (24, False, "disk/silent.trace.png: No space left on device"),
        (64, True, "No space left on device: let TMPDIR name a folder with more room"),
    ],
)
def test_predictions_that_do_not_fit_are_named_and_nothing_of_them_stays(
    project, disk, trained_models, silent_video, monkeypatch, kib, temporary, words
):
    folder = project.root / "disk"
    disk(folder, kib)
    if temporary:
        monkeypatch.setattr("tempfile.tempdir", str(folder))
    out = project.root / "out" if temporary else folder
    done = project.avfusion("predict", silent_video, "--model", trained_models / "fusion", "-o", out)
    assert done.code == 1
    assert f"error: {silent_video}: " in done.error
    assert words in done.error
    assert list(folder.iterdir()) == []
    assert not (project.root / "out").exists()


def test_an_export_that_does_not_fit_is_named_and_nothing_of_it_stays(project, disk, trained_models):
    disk(project.root / "disk", 24)
    done = project.avfusion("export", "--model", trained_models / "fusion", "-o", project.root / "disk" / "exported")
    assert done.code == 1
    assert "log_mel.pt2: No space left on device" in done.error
    assert done.error.count("\n") == 1
    assert list((project.root / "disk").iterdir()) == []


def test_where_nothing_may_be_written_is_said_before_the_work(project, trained_models, silent_video):
    folder = project.root / "read-only"
    folder.mkdir()
    if not mount("--bind", folder, folder):
        pytest.skip("a folder can only be made read-only for root by a mount")
    try:
        assert mount("-o", "remount,bind,ro", folder)
        options = ("--model", trained_models / "fusion", "--overlay", "--report", "-o", folder / "new")
        done = project.avfusion("predict", silent_video, *options)
    finally:
        subprocess.run(["umount", str(folder)], check=True)
    assert done.code == 2
    model, note, *rest = done.error.splitlines()
    assert model.startswith("model: ")
    assert note.startswith("note: the model has seen only drawn faces")
    assert rest == [f"error: {silent_video}: {folder} may not be written to: name another folder with -o"]


def test_a_refusal_is_not_blamed_on_a_disk_that_is_nearly_full(disk, tmp_path):
    folder = tmp_path / "disk"
    disk(folder, 60)

    def refuse() -> None:
        with atomic_path(folder / "a") as temporary:
            temporary.write_bytes(bytes(30_000))
            raise AVFusionError("a video that cannot be read")

    with pytest.raises(AVFusionError, match="cannot be read"):
        refuse()


def test_other_failures_of_writers_stay_what_they_are(tmp_path):
    with pytest.raises(RuntimeError, match="of another kind"), atomic_path(tmp_path / "a"):
        raise RuntimeError("of another kind")


@pytest.mark.parametrize("stage", ["corpus", "frames"])
def test_a_read_only_disk_is_one_line(project, stage):
    for step in (lambda: project.avfusion("scan"), lambda: project.run("corpus")):
        assert step().code == 0
    target = project.root / "data" / ("corpus" if stage == "corpus" else "frames")
    target.mkdir(exist_ok=True)
    if not mount("--bind", target, target):
        pytest.skip("a folder can only be made read-only for root by a mount")
    try:
        assert mount("-o", "remount,bind,ro", target)
        done = project.run(stage)
    finally:
        subprocess.run(["umount", str(target)], check=True)
    assert done.code == 1
    assert "Read-only file system" in done.error
    assert str(target) in done.error
    assert done.error.count("\n") == 1
    assert project.run(stage).code == 0


def test_an_unwritable_list_of_sources_is_one_line(project):
    sources = project.root / "data" / "sources.txt"
    sources.mkdir(parents=True)
    done = project.avfusion("scan")
    assert done.code == 1
    assert f"{sources}: Is a directory" in done.error
    assert done.error.count("\n") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are of Linux")
def test_what_may_not_be_read_is_named(project):
    """Root may read everything: its two capabilities for that are given up in a process of its own."""
    script = (
        "import ctypes, os, sys\n"
        "libc = ctypes.CDLL(None)\n"
        "if os.geteuid() == 0 and any(libc.prctl(24, capability, 0, 0, 0) for capability in (1, 2)): sys.exit(77)\n"
        "os.execv(sys.argv[1], sys.argv[1:])\n"  # root's new program gets what is left of the bounding set
    )
    command = [sys.executable, "-c", "from avfusion.cli import main; main()", "scan"]

    def scan() -> subprocess.CompletedProcess[str]:
        done = subprocess.run([sys.executable, "-c", script, *command], capture_output=True, text=True, timeout=60)
        if done.returncode == 77:
            pytest.skip("root cannot give up its capabilities here")
        return done

    assert scan().returncode == 0
    for path, words in {
        project.labels("a"): "a.txt (Permission denied)",
        project.video("a"): "a.mp4 (Permission denied)",
        project.corpus / "videos": "videos cannot be listed (Permission denied)",
    }.items():
        mode = path.stat().st_mode
        path.chmod(0)
        done = scan()
        path.chmod(mode)
        assert done.returncode in (1, 2)
        assert words in done.stderr
        assert done.stderr.count("\n") == 1
