"""Names of files that are no text or very long, streams that take no text, and disks without room: done, or refused
before the work begins."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from avfusion import Predictor
from avfusion.presentation.batch import BAD_INPUT, DONE, Request, predict_files
from avfusion.presentation.output import read_provenance
from avfusion.presentation.pictures import Pictures
from avfusion.runtime.atomic import write_text
from avfusion.runtime.errors import AVFusionError
from avfusion.runtime.printable import printable
from tests.project_copy import ROOT
from tests.small_disk import mount


@pytest.fixture(scope="module")
def predictor(trained_models: Path) -> Predictor:
    return Predictor.load(trained_models / "fusion", device="cpu")


def named(folder: Path, video: Path, name: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / os.fsdecode(name)
    try:
        shutil.copyfile(video, path)
    except OSError:
        pytest.skip("this file system has no such names")
    return path


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"caf\xe9.mp4", r"caf\xe9.mp4"),
        (b"two\nlines.mp4", r"two\nlines.mp4"),
        (b"\x1b[31mred\x07.mp4", r"\x1b[31mred\x07.mp4"),
        ("日本 👶🏽.mp4".encode(), r"日本 👶🏽.mp4"),
        (rb"-cost$\frac{$.mp4", r"-cost$\frac{$.mp4"),
        (b"y" * 245 + b".mp4", "y" * 245 + ".mp4"),
    ],
)
def test_a_name_that_is_odd_is_shown_in_one_line(
    predictor: Predictor,
    short_video: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: bytes,
    shown: str,
) -> None:
    video, out = named(tmp_path / "in", short_video, name), tmp_path / "out"
    request = Request(form="json", pictures=Pictures(report=len(name) < 240))
    assert predict_files([video], predictor, folder=out, request=request) == DONE
    table = out / f"{video.stem}.json"
    assert len(json.loads(table.read_text(encoding="utf-8"))["frames"]) == 40
    assert read_provenance(out / f"{video.stem}.trace.png")["video"] == shown
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 1
    assert printable(video.stem) in printed.out
    assert printed.err.splitlines()[-1].startswith(f"{shown} (1 of 1): ")
    assert predict_files([video], predictor, folder=out, request=request) == DONE
    assert "done before" in capsys.readouterr().out


def test_a_name_without_room_is_refused_before_the_work(
    predictor: Predictor, short_video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = named(tmp_path / "in", short_video, b"x" * 245 + b".mp4")
    for request, ending in (
        (Request(pictures=Pictures(overlay=True)), ".overlay.mp4"),
        (Request(people="all"), ".person-99.csv"),
    ):
        assert predict_files([video], predictor, folder=tmp_path / "out", request=request) == BAD_INPUT
        assert f"its name leaves no room for {ending}: rename the video" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_file_of_the_longest_name_is_written_whole(tmp_path: Path) -> None:
    for name in ("n" * 251 + ".txt", "é" * 127 + "x"):
        write_text(tmp_path / name, "whole")
        assert (tmp_path / name).read_text() == "whole"
    assert len(list(tmp_path.iterdir())) == 2


def command(*arguments: object, output: object = subprocess.PIPE, **variables: str) -> "subprocess.CompletedProcess":
    line = [sys.executable, "-m", "avfusion.cli", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | variables
    return subprocess.run(line, env=environment, stdout=output, stderr=subprocess.PIPE, text=True, timeout=400)


def test_output_that_is_ascii_or_full_or_closed_costs_no_table(
    trained_models: Path, short_video: Path, tmp_path: Path
) -> None:
    video = named(tmp_path / "in", short_video, "Müller.mp4".encode())
    options = ("predict", video, "--model", trained_models / "fusion", "--device", "cpu", "--force", "-o")
    done = command(*options, tmp_path / "ascii", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert (done.returncode, done.stderr.count("error")) == (0, 0), done.stderr
    assert r"M\xfcller.csv: 40 frames" in done.stdout
    reading, writing = os.pipe()
    os.close(reading)  # as of `| head -1` that has gone
    with open("/dev/full", "w") as full, os.fdopen(writing, "w") as closed:
        for name, stream, why in (("full", full, "No space left on device"), ("closed", closed, "Broken pipe")):
            done = command(*options, tmp_path / name, output=stream)
            assert done.returncode == 0, done.stderr
            assert f"note: standard output cannot be written ({why}); the files are" in done.stderr
            assert "Traceback" not in done.stderr
            assert (tmp_path / name / "Müller.csv").is_file()
        assert command("--help", output=full).returncode == 1


def test_temporary_files_without_room_are_refused_before_the_work(
    predictor: Predictor,
    short_video: Path,
    tmp_path: Path,
    disk: Callable[[Path, int], Callable[[int], None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The sound of 1.6 s takes 141 kB; the crops come on top."""
    place = tmp_path / "tmp"
    resize = disk(place, 100)
    monkeypatch.setattr("tempfile.tempdir", str(place))
    seen: list[str] = []
    with pytest.raises(AVFusionError, match=r"has 102 kB free, and the sound needs .* let TMPDIR name a folder"):
        predictor.predict(short_video, progress=lambda phase, *_: seen.append(phase))
    assert not seen
    resize(180)
    with pytest.raises(AVFusionError, match=r"No space left on device: let TMPDIR name a folder with more room"):
        predictor.predict(short_video)
    assert not list(place.iterdir())
    resize(4000)
    assert len(predictor.predict(short_video)) == 40


@pytest.fixture
def unusable(tmp_path: Path, disk: Callable[[Path, int], Callable[[int], None]]) -> dict[str, Path]:
    """Places of temporary files where even root can write none."""
    places = {name: tmp_path / name for name in ("missing", "a file", "full", "read-only")} | {"proc": Path("/proc")}
    places["a file"].touch()
    for name in ("full", "read-only"):
        disk(places[name], 4)
    (places["full"] / "filler").write_bytes(bytes(4096))
    assert mount("-o", "remount,ro", places["read-only"])
    return places


def test_a_folder_for_temporary_files_that_cannot_be_used_is_replaced(
    predictor: Predictor,
    trained_models: Path,
    short_video: Path,
    tmp_path: Path,
    unusable: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Python goes on to /tmp."""
    for place in unusable.values():
        monkeypatch.setenv("TMPDIR", str(place))
        monkeypatch.setattr("tempfile.tempdir", None)
        assert len(predictor.predict(short_video)) == 40
    done = command("predict", short_video, "--model", trained_models / "fusion", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr


def test_where_temporary_files_have_no_place_is_said_before_the_work(
    predictor: Predictor,
    short_video: Path,
    unusable: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """The place in use has become unusable; or there has been none from the beginning."""
    seen: list[str] = []
    for name, why in {
        "missing": "No such file or directory",
        "a file": "Not a directory",
        "read-only": "Read-only file system",
        "proc": "No such file or directory",
    }.items():
        monkeypatch.setattr("tempfile.tempdir", str(unusable[name]))
        place = rf"{unusable[name]}/starting-avfusion-predict-\w+"
        words = rf"temporary files cannot be written: {place}: {why}: let TMPDIR name another folder"
        with pytest.raises(AVFusionError, match=words):
            predictor.predict(short_video, progress=lambda phase, *_: seen.append(phase))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("tempfile._candidate_tempdir_list", lambda: [str(unusable["proc"]), str(unusable["read-only"])])
    assert predict_files([short_video], predictor, folder=tmp_path / "out", request=Request()) == 1
    assert "No usable temporary directory found in ['/proc', " in capsys.readouterr().err
    assert not seen
    assert not (tmp_path / "out").exists()


def test_a_folder_that_fills_up_holds_whole_files_alone(
    predictor: Predictor,
    short_video: Path,
    tmp_path: Path,
    disk: Callable[[Path, int], Callable[[int], None]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whichever file finds no room is named; what was written before is whole, and nothing else is there."""
    out = tmp_path / "out"
    resize = disk(out, 4000)
    request = Request(pictures=Pictures(overlay=True, report=True))

    def predicted() -> tuple[int, dict[str, bytes]]:
        code = predict_files([short_video], predictor, folder=out, request=request)
        return code, {path.name: path.read_bytes() for path in out.iterdir()}

    code, whole = predicted()
    assert code == DONE
    order = [f"short.{kind}" for kind in ("csv", "trace.png", "report.html", "overlay.mp4")]
    pages = [-(-len(whole[name]) // 4096) for name in order]
    for lost, kept in ((1, 0), (2, 2), (3, 3)):  # a table stays with its trace only
        for path in out.iterdir():
            path.unlink()
        resize(4 * (sum(pages[:lost]) + pages[lost] // 2))
        capsys.readouterr()
        code, found = predicted()
        assert code == 1
        assert f"{out / order[lost]}: No space left on device" in capsys.readouterr().err
        assert found == {name: whole[name] for name in order[:kept]}
