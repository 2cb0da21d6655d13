"""README and docs: what they tell people to type runs, and what they tell people to look at exists."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from tests.serving.conftest import start_server

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Commands of the pages that `test_commands_do_what_they_say` does not run, by what they begin with, and what does.
ELSEWHERE = {
    "make demo": "acceptance/promises.py",
    "make repro": "tests/test_affwild2_end_to_end.py: its `dvc repro`, tests/test_own_data.py: that it scans first",
    "avfusion preset affwild2-tsav": "tests/test_published_weights_end_to_end.py",
    "avfusion preset affwild2": "tests/test_affwild2_end_to_end.py",
    "avfusion preset ravdess": "tests/params/test_params.py",
    "avfusion preset cremad": "tests/params/test_params.py",
    "avfusion preset manifest": "tests/test_own_data.py",
    "avfusion doctor": "tests/test_affwild2_end_to_end.py",
    "avfusion submit": "tests/test_affwild2_end_to_end.py",
    "avfusion check-model": "tests/test_own_model.py",
    "avfusion compare": "tests/experiments/test_compare.py",
    "avfusion crossval": "tests/experiments/test_crossval.py",
    "avfusion sweep": "tests/experiments/sweep/test_run.py",
    "avfusion summary": "tests/test_published_weights_end_to_end.py",
    "avfusion import-weights": "tests/test_published_weights_end_to_end.py",
    "avfusion predict interview.mp4 --model models/imported/jointcam": "tests/test_published_weights_end_to_end.py",
    "mlflow models serve": "tests/serving/test_same_numbers.py",
    "export MLFLOW_TRACKING_URI=sqlite:": "tests/serving/test_same_numbers.py",
    "curl http://127.0.0.1:5001/invocations": "tests/serving/test_same_numbers.py",
    "dvc repro": "tests/test_affwild2_end_to_end.py",
    "dvc metrics diff": "tests/test_what_is_made_again.py",
    "dvc exp run": "tests/test_what_is_made_again.py",
    "dvc params diff": "tests/test_what_is_made_again.py",
    "dvc plots": "tests/test_what_is_made_again.py",
    "make experiments": "tests/test_what_is_made_again.py",
    "dvc push": "tests/test_affwild2_end_to_end.py",
    "dvc pull": "tests/test_affwild2_end_to_end.py",
    "dvc remote add": "tests/test_affwild2_end_to_end.py",
    "git clone": "tests/test_affwild2_end_to_end.py",
    "git add": "tests/test_affwild2_end_to_end.py",
    "mkdir -p data/raw && ln -s": "tests/test_affwild2_end_to_end.py",
    "avfusion sweep --confirm": "tests/experiments/sweep/test_confirm.py",
    "torchrun": "tests/backbones/test_processes.py",
    "python benchmarks/": "hours of training: its table is in the page",
    "createdb": "of PostgreSQL; tests/experiments/sweep/test_postgres.py starts a server",
    "initdb": "of PostgreSQL; tests/experiments/sweep/test_postgres.py starts a server",
    "export AVFUSION_SWEEP_STORAGE": "tests/experiments/sweep/test_postgres.py",
    "export MLFLOW_TRACKING_URI=http:": "names somebody's server",
    "pip install": "installs; acceptance/promises.py does so by `make demo`",
    "source": "changes the shell alone",
}


def commands(page: Path) -> list[str]:
    """The commands in a page's blocks of shell, without comments and without the environment's path."""
    blocks = "".join(re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))
    lines = re.sub(r"\\\n\s*", "", blocks).splitlines()
    return [re.sub(r"\s+#.*", "", line).replace(".venv/bin/", "") for line in lines if line.strip()]


DOCUMENTED = dict.fromkeys(command for page in PAGES for command in commands(page))


HERE = [command for command in DOCUMENTED if not command.startswith(tuple(ELSEWHERE))]


def test_every_command_is_run_somewhere() -> None:
    assert len(HERE) >= 15
    for begin, place in ELSEWHERE.items():
        assert any(command.startswith(begin) for command in DOCUMENTED), f"no page has {begin} any more"
        for path in re.findall(r"[\w/]+\.py", place):
            source = (ROOT / path).read_text(encoding="utf-8")
            words = begin.removeprefix("avfusion ").split()[:1]
            if begin.startswith("avfusion "):
                assert all(word in source for word in words), f"{path} does not run {begin}"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_commands_do_what_they_say(project: Path, tmp_path: Path, face_video: Path, silent_video: Path) -> None:
    """Typed as they stand, one after the other, in a project with a trained model."""
    (project / ".venv").symlink_to(Path(sys.executable).parents[1])
    for name in ("data/raw/demo/videos/demo-080.mp4", "interview.mp4", "videos/a.mp4"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(face_video, project / name)
    for name in ("holiday.mov", "more/b.mov"):
        (project / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(silent_video, project / name)
    tone = 0.3 * np.sin(np.arange(3 * 44100) / 20)
    soundfile.write(project / "voice.mp3", tone, 44100)
    shutil.copytree(project / "models" / "fusion", project / "models" / "baselines" / "concat")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}

    def run(command: str) -> str:
        done = subprocess.run(
            ["bash", "-ec", command], cwd=project, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{command}: {done.stderr[-2000:]}"
        assert "Traceback" not in done.stderr
        return done.stdout

    run("avfusion register")
    job, server = "", None
    for command in HERE:
        if command.startswith("avfusion serve"):  # the plain form is what the tests of the server start
            if options := command.split()[2:]:
                server = start_server(project / "models" / "fusion", tmp_path / "temporary", *options, "--port", "0")
            continue
        typed = command.replace("models:/avfusion/3", "models:/avfusion/1").replace("/ID", f"/{job}")
        said = run(typed.replace("http://127.0.0.1:8000", server.url if server else ""))
        if typed.startswith("curl -F"):
            job = json.loads(said)["id"]
        if "/api/jobs/" in typed and "result" not in typed and "DELETE" not in typed:
            assert server is not None
            server.finished(job)
        if "result?format=csv" in typed:
            assert said.startswith("frame,time_s,valence,arousal,face_confidence,audio_present,visual_present\n1,0.0")
    assert server is not None
    assert server.stop() == 0
    assert sum(command.startswith("curl") for command in HERE) == 6
    for name in ("demo-080.csv", "interview.csv", "holiday.csv", "interview.overlay.mp4", "interview.report.html"):
        assert (project / "out" / name).stat().st_size > 1000, name
    assert {"a.parquet", "a.csv", "b.csv", "voice.csv"} <= {path.name for path in (project / "out").iterdir()}
    assert (project / "exported" / "fusion.pt2").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/predict.md", "docs/serving.md"])
def test_python_examples_run(page: str, project: Path, face_video: Path) -> None:
    shutil.copyfile(face_video, project / "interview.mp4")
    command = [sys.executable, "-m", "avfusion.cli"]
    for arguments in (["register"], ["export", "-o", "exported"]):
        subprocess.run([*command, *arguments], check=True, capture_output=True)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        done = subprocess.run([sys.executable, "-"], input=block, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr


README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", sorted(set(re.findall(r"\.venv/bin/avfusion ([a-z-]+)", README))))
def test_commands_exist(command: str) -> None:
    done = subprocess.run([sys.executable, "-m", "avfusion.cli", command, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"avfusion.cli {command}" in done.stdout


def test_options_exist() -> None:
    for command, options in re.findall(r"\.venv/bin/avfusion ([a-z-]+)([^\n]*)", README):
        text = subprocess.run(
            [sys.executable, "-m", "avfusion.cli", command, "--help"],
            capture_output=True,
            text=True,
            env={"COLUMNS": "200", "PATH": "/usr/bin:/bin"},
        ).stdout
        for option in re.findall(r"(?<= )--?[a-z]+", options.split("#")[0]):
            assert option in text, f"avfusion {command} {option}"


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`?make ([a-z-]+)`", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_pictures_and_files_exist() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).is_file(), target


def test_stages_are_dvcs() -> None:
    table = README.split("| stage | result |")[1].split("\n\n")[0]
    named = [name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(named) == sorted(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])


def test_python_example_names_what_the_package_exports() -> None:
    import avfusion

    blocks = "".join(re.findall(r"```python\n(.*?)```", README, re.DOTALL))
    for name in re.findall(r"avfusion\.([A-Za-z_]+)[.(]", blocks):
        assert name in avfusion.__all__, name
    from avfusion import fusion

    for name in set(re.findall(r"avfusion\.fusion\.([A-Za-z_]+)", README)):
        assert name in fusion.__all__, name
