"""A repeated call over a folder does what is missing or out of date, and leaves the rest."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

import avfusion
from avfusion import Predictor
from avfusion.presentation.batch import BAD_INPUT, DONE, Request, predict_files
from tests.inference.test_analysis import face, other, pictures
from tests.media.conftest import tone, write_media

Outcome = tuple[int, str]


@pytest.fixture(scope="module")
def predictor(trained_models: Path) -> Predictor:
    return Predictor.load(trained_models / "fusion")


@pytest.fixture
def folder(tmp_path: Path, silent_video: Path, faceless_video: Path) -> Path:
    root = tmp_path / "videos"
    (root / "sub").mkdir(parents=True)
    shutil.copyfile(silent_video, root / "one.mp4")
    shutil.copyfile(faceless_video, root / "sub" / "two.mp4")
    return root


@pytest.fixture
def run(predictor: Predictor, folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Predicts the folder; gives the exit status and how many videos became what."""

    def call(request: Request | None = None, force: bool = False) -> Outcome:
        code = predict_files([folder], predictor, request=request or Request(), force=force)
        told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("2 files: ")]
        return code, told[0].removeprefix("2 files: ")

    return call


def test_only_what_is_not_done_by_this_model_with_these_options(run: Callable[..., Outcome], folder: Path) -> None:
    assert run() == (DONE, "2 predicted")
    first = {path: path.stat().st_mtime_ns for path in folder.rglob("*.csv")}
    assert len(first) == 2
    assert run() == (DONE, "2 done before"), "and its own files are not taken for videos"
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.csv")} == first
    (folder / "one.csv").write_text("half of it")
    assert run() == (DONE, "1 predicted, 1 done before")
    (folder / "sub" / "two.csv").unlink()
    assert run() == (DONE, "1 predicted, 1 done before")
    assert run(Request(stride=16)) == (DONE, "2 predicted")
    assert run(Request(stride=16)) == (DONE, "2 done before")
    assert run(Request(stride=16), force=True) == (DONE, "2 predicted")


def test_another_model_or_video_is_another_prediction(
    run: Callable[..., Outcome], folder: Path, predictor: Predictor, monkeypatch: pytest.MonkeyPatch, face_video: Path
) -> None:
    assert run() == (DONE, "2 predicted")
    with monkeypatch.context() as patched:
        patched.setattr(predictor, "digest", "0" * 64)
        assert run() == (DONE, "2 predicted")
    assert run() == (DONE, "2 predicted")
    with monkeypatch.context() as patched:
        patched.setattr(predictor, "code", "other code")
        assert run() == (DONE, "2 predicted")
        assert run() == (DONE, "2 done before")
    assert run() == (DONE, "2 predicted")
    shutil.copyfile(face_video, folder / "one.mp4")
    code, told = run()
    assert (code, told) == (2, "1 done before, 1 failed"), "its table is another video's"
    assert run(force=True) == (DONE, "2 predicted")


def noisy_pictures() -> list[np.ndarray]:
    """Of over 3 MB as a file, so that its middle is far from its ends."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (480, 640, 3), np.uint8) for _ in range(50)]


def write_avi(path: Path) -> None:
    """MJPEG and PCM, a chunk of sound after each picture."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mjpeg", rate=25)
        video.width, video.height, video.pix_fmt = 640, 480, "yuvj420p"
        audio = container.add_stream("pcm_s16le", rate=44100, layout="mono")
        wave = np.round(tone(2.0, 44100) * 32767).astype(np.int16)
        for index, picture in enumerate(noisy_pictures()):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            samples = np.ascontiguousarray(wave[:, index * 1764 : (index + 1) * 1764])
            sound = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            sound.sample_rate, sound.pts = 44100, index * 1764
            container.mux(audio.encode(sound))
        container.mux(video.encode())
        container.mux(audio.encode())


def write_mp4(path: Path) -> None:
    options = {"crf": "30", "preset": "ultrafast"}
    write_media(path, noisy_pictures(), [index / 25 for index in range(50)], sound=tone(2.0), codec_options=options)


def in_sound(content: bytes) -> int:
    """Place of samples in the middle of an AVI."""
    return content.index(b"01wb", len(content) // 2) + 512


def in_middle(content: bytes) -> int:
    return len(content) // 2


@pytest.mark.parametrize(
    ("name", "write", "place"), [("pcm.avi", write_avi, in_sound), ("patched.mp4", write_mp4, in_middle)]
)
def test_an_edit_within_the_file_is_another_video(
    predictor: Predictor,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    write: Callable[[Path], None],
    place: Callable[[bytes], int],
) -> None:
    video = tmp_path / name
    write(video)
    before = video.stat()
    assert before.st_size > 3 << 20
    assert predict_files([video], predictor) == DONE
    assert predict_files([video], predictor) == DONE
    assert "done before" in capsys.readouterr().out
    at = place(video.read_bytes())
    assert 1 << 20 < at < before.st_size - (1 << 20)
    with video.open("r+b") as stream:
        stream.seek(at)
        stream.write(bytes(64))
    os.utime(video, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert video.stat().st_size == before.st_size
    assert predict_files([video], predictor) == BAD_INPUT
    assert "or of this one before it was edited: choose another folder with -o" in capsys.readouterr().err
    assert predict_files([video], predictor, force=True) == DONE
    assert predict_files([video], predictor) == DONE
    assert "done before" in capsys.readouterr().out


def test_a_table_for_everybody(predictor: Predictor, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = pictures(face(), other())[:40]
    video = write_media(tmp_path / "two.mp4", frames, [index / 25 for index in range(40)])
    request = Request(people="all", form="json")
    assert predict_files([video], predictor, request=request) == DONE
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["two.json", "two.mp4", "two.person-2.json", "two.person-2.trace.png", "two.trace.png"]
    second = json.loads((tmp_path / "two.person-2.json").read_text())
    assert (second["person"], second["video"], len(second["frames"])) == ("person-2", "two.mp4", 40)
    capsys.readouterr()
    assert predict_files([video], predictor, request=request) == DONE
    assert "two.json: done before" in capsys.readouterr().out
    (tmp_path / "two.person-2.json").unlink()
    assert predict_files([video], predictor, request=request) == DONE
    assert (tmp_path / "two.person-2.json").is_file(), "a missing person is missing"


EDITS = {
    "avfusion/inference/predictor.py": ("`frame` (int32, from 1)", "`frame` (int32, the first is 1)", False),
    "avfusion/media/timeline.py": ("raise BadInputError(", "raise BadInputError('other words' + ", False),
    "avfusion/data/presence.py": ("heard = spans[:, 0] < samples", "heard = spans[:, 0] <= samples", True),
    "avfusion/fusion/inference.py": ("import numpy as np\n", "import numpy as np\n\nMORE = 1\n", True),
    "avfusion/presentation/overlay.py": ("import numpy as np\n", "import numpy as np\n\nMORE = 1\n", False),
    "avfusion/training/loop.py": ("import numpy as np\n", "import numpy as np\n\nMORE = 1\n", False),
}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package, whose code may be edited."""
    folder = tmp_path_factory.mktemp("package")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(avfusion.__file__).parent, folder / "avfusion", ignore=ignored)
    return folder


def test_only_code_of_the_way_to_a_prediction_is_in_its_digest(package: Path) -> None:
    """A changed message makes no table anew."""
    before = prediction_digest(package)
    for name, (old, new, counts) in EDITS.items():
        path = package / name
        text = path.read_text(encoding="utf-8")
        assert old in text, name
        path.write_text(text.replace(old, new), encoding="utf-8")
        assert (prediction_digest(package) != before) == counts, name
        path.write_text(text, encoding="utf-8")
    assert prediction_digest(package) == before


def prediction_digest(package: Path) -> str:
    script = "from avfusion.runtime.units import unit_digest; print(unit_digest('prediction', 'avfusion.fusion.jca'))"
    return subprocess.run(
        [sys.executable, "-c", script], cwd=package, env=os.environ | {"PYTHONPATH": str(package)},
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
