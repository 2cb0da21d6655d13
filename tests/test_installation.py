"""A wheel in an empty environment outside the checkout, with what `pip install` brings: it predicts a video."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import requests

import avfusion
from avfusion.fusion.model_folder import ModelFolder
from avfusion.inference.predictor import Predictor

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[1]
UV = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an environment with the wheel and the dependencies that it declares, as the index has them."""
    assert UV is not None, "`make setup` installs uv"
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"  # a copy: building leaves folders behind
    shutil.copytree(ROOT / "avfusion", source / "avfusion", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, source / name)
    run([UV, "build", "--quiet", "--wheel", "--out-dir", folder, source], folder)
    run([UV, "venv", "--quiet", "--python", sys.executable, folder / "venv"], folder)
    (wheel,) = folder.glob("*.whl")
    install(folder / "venv", wheel)
    shutil.rmtree(source)
    return folder / "venv"


def install(environment: Path, *packages: object) -> None:
    run([UV, "pip", "install", "--quiet", "--python", environment / "bin" / "python", *packages], environment)


def run(command: list[object], folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run a command in a folder, without anything of the checkout in its environment."""
    done = subprocess.run([str(part) for part in command], cwd=folder, env=variables(), capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done


def variables() -> dict[str, str]:
    return {name: text for name, text in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV", "DVC_ROOT")}


@pytest.fixture
def elsewhere(tmp_path: Path, trained_models: Path, face_video: Path) -> Path:
    """A folder outside the checkout with a video and a model."""
    ModelFolder.open(trained_models / "fusion").copy_to(tmp_path / "model")
    shutil.copyfile(face_video, tmp_path / "face.mp4")
    return tmp_path


def test_the_wheel_predicts_a_video(installed: Path, elsewhere: Path, trained_models: Path) -> None:
    command = installed / "bin" / "avfusion"
    where = run([installed / "bin" / "python", "-c", "import avfusion; print(avfusion.__file__)"], elsewhere)
    assert Path(where.stdout.strip()).is_relative_to(installed), "not the checkout's"
    assert run([command, "--version"], elsewhere).stdout.startswith(f"avfusion {avfusion.__version__}, Python ")
    run([command, "predict", "face.mp4", "--model", "model", "-o", "out", "--report", "--overlay"], elsewhere)
    table = pd.read_csv(elsewhere / "out" / "face.csv")
    expected = Predictor.load(trained_models / "fusion").predict(elsewhere / "face.mp4")
    for name in ("valence", "arousal"):
        assert table[name].to_numpy() == pytest.approx(expected[name].to_numpy(), abs=1e-4)
    page = (elsewhere / "out" / "face.report.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert "{{" not in page
    assert (elsewhere / "out" / "face.overlay.mp4").stat().st_size > 10_000
    run([UV, "pip", "check", "--python", installed / "bin" / "python"], elsewhere)


def test_every_compiled_package_loads(installed: Path, elsewhere: Path) -> None:
    """A package that installs beside another version of torch than its own would pass `pip check`, but not this."""
    script = (
        "from avfusion.doctor.environment import COMPILED\nfrom avfusion.runtime.companions import load_fault\n"
        "print([load_fault(*names) for names in COMPILED.items()])"
    )
    assert eval(run([installed / "bin" / "python", "-c", script], elsewhere).stdout) == [""] * 5


def test_the_wheel_brings_presets_and_templates(installed: Path, elsewhere: Path) -> None:
    (elsewhere / "dvc.yaml").write_text("stages: {}\n")
    for name in ("affwild2", "affwild2-tsav", "manifest", "demo"):
        run([installed / "bin" / "avfusion", "preset", name], elsewhere)
        written = (elsewhere / "params.yaml").read_bytes()
        assert written == (ROOT / "avfusion" / "params" / "presets" / f"{name}.yaml").read_bytes()
    packaged = {path.relative_to(ROOT).as_posix() for path in (ROOT / "avfusion").rglob("*.*") if is_data(path)}
    (site,) = installed.glob("lib/python*/site-packages")
    assert {path for path in packaged if not (site / path).is_file()} == set()


def is_data(path: Path) -> bool:
    return path.suffix not in (".py", ".pyc") and "__pycache__" not in path.parts and path.is_file()


def test_the_extra_serve_serves_the_page(installed: Path, elsewhere: Path) -> None:
    (wheel,) = installed.parent.glob("*.whl")
    install(installed, f"avfusion[serve] @ {wheel.as_uri()}")
    command = [str(installed / "bin" / "avfusion"), "serve", "--model", "model", "--port", "0"]
    with (elsewhere / "log").open("w") as log:
        server = subprocess.Popen(
            command, cwd=elsewhere, env=variables(), stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        assert line.startswith("serving on "), (elsewhere / "log").read_text()
        page = requests.get(line.split()[2].rstrip(","), timeout=60)
        assert page.status_code == 200
        assert "<video" in page.text
    finally:
        server.terminate()
        server.wait(60)
