"""docs/own-model.md is true, and a model from outside goes all the way."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from avfusion.fusion.catalogue import fusion_names, tunable_options
from tests.conftest import write_model, write_scores
from tests.planted_corpus import write_planted_corpus
from tests.project_copy import ROOT, ProjectCopy
from tests.test_what_is_made_again import SMALL, SmallProject, computed

PAGE = (ROOT / "docs" / "own-model.md").read_text(encoding="utf-8")
FUSION, BACKBONE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
NAME = "own.gated_sum:GatedSum"


@pytest.fixture
def folder(tmp_path: Path, migrated_store: Path) -> Path:
    """A project with the page's modules and a planted corpus."""
    root = tmp_path / "project"
    write_planted_corpus(root, tracks={"train": 2, "val": 6, "test": 1}, seconds=8)
    (root / "mlruns").mkdir()
    shutil.copyfile(migrated_store, root / "mlruns" / "mlflow.db")
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["train"] |= {"epochs": 2, "batch_size": 8, "model": NAME, "options": {"temperature": 0.5}, "baselines": []}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    (root / "dvc.yaml").write_text("stages: {}\n")
    (root / "own").mkdir()
    (root / "own" / "gated_sum.py").write_text(FUSION, encoding="utf-8")
    (root / "own" / "mean_face.py").write_text(BACKBONE, encoding="utf-8")
    return root


@pytest.fixture
def run(folder: Path) -> Callable[..., str]:
    """Runs a command in the project, with the package importable and the project's folder not."""
    variables = ProjectCopy(folder).variables | {"PYTHONPATH": str(ROOT)}

    def command(*words: str, code: int = 0, cwd: Path = folder) -> str:
        done = subprocess.run(words, cwd=cwd, env=variables, capture_output=True, text=True, timeout=600)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    return command


AVFUSION = (sys.executable, "-m", "avfusion.cli")


def test_the_table_of_models_is_that_of_the_registry() -> None:
    table = dict(re.findall(r"^\| `(\w+)` \| (.*?) ?\|$", PAGE, re.MULTILINE))
    assert table == {
        name: ", ".join(
            f"`{key}` {str(option.default).lower() if option.kind is bool else option.default}"
            for key, option in tunable_options(name).items()
        )
        for name in sorted(fusion_names())
    }


def test_the_model_has_twenty_lines() -> None:
    assert len([line for line in FUSION.splitlines() if line.strip()]) <= 20


def test_check_model_and_compare_as_on_the_page(run: Callable[..., str], folder: Path) -> None:
    lines = run(*AVFUSION, "check-model", NAME).splitlines()
    assert {line.split()[0] for line in lines} == {"ok"}
    assert lines[-1].split()[1] == "overfit"
    run(*AVFUSION, "compare", "--models", f"{NAME},concat", "--seeds", "0")
    table = pd.read_csv(folder / "reports" / "compare" / "comparison.csv")
    assert sorted(table["model"]) == ["concat", NAME]


def test_a_model_that_breaks_the_contract_is_refused_before_it_is_trained(
    run: Callable[..., str], folder: Path
) -> None:
    """A line and exit status 2, by the command; and by the stage, where the module ends the process."""
    (folder / "pipelines").symlink_to(ROOT / "pipelines")
    method = "\n    def forward(self, audio, visual):\n        return super().forward(audio, visual)\n"
    for command, text, said in (
        (
            (*AVFUSION, "compare", "--seeds", "0"),
            f"{FUSION}{method}",
            "TypeError: GatedSum.forward() got an unexpected keyword argument 'audio_present'",
        ),
        (
            (sys.executable, "pipelines/train.py"),
            f"raise SystemExit(0)\n{FUSION}",
            "own.gated_sum does not import: SystemExit: 0",
        ),
    ):
        (folder / "own" / "gated_sum.py").write_text(text, encoding="utf-8")
        (line,) = [line for line in run(*command, code=2).splitlines() if line.startswith("error: ")]
        assert f"fusion model '{NAME}': {said}" in line
    assert not list((folder / ".avfusion" / "train").glob("*/*.safetensors"))


def test_the_backbone_of_the_page(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from avfusion.backbones.registry import build_backbone

    monkeypatch.syspath_prepend(str(folder))
    backbone = build_backbone("own.mean_face:MeanFace", stream="visual", width=8, input_size=56)
    assert backbone(torch.randn(2, 3, 8, 56, 56)).shape == (2, *backbone.feature_shape) == (2, 32)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_an_outside_model_goes_all_the_way(
    run: Callable[..., str], folder: Path, face_video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained by the stage; predicts, is registered and served, the last where the project is not on the path."""
    (folder / "pipelines").symlink_to(ROOT / "pipelines")
    run(sys.executable, "pipelines/train.py")
    monkeypatch.syspath_prepend(str(folder))
    assert f'"name": "{NAME}"' in (folder / "models" / "fusion" / "config.json").read_text()
    shutil.rmtree(folder / "models")  # the planted backbones run on nothing: others, and the model on their features
    write_model(folder / "models", name=NAME)
    write_scores(folder, 0.5, NAME)
    shutil.copyfile(face_video, folder / "face.mp4")
    run(*AVFUSION, "predict", "face.mp4", "-o", "out", "--model", "models/fusion")
    run(*AVFUSION, "register")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copyfile(face_video, elsewhere / "face.mp4")
    script = (
        "import mlflow, pandas as pd\n"
        f"mlflow.set_tracking_uri('sqlite:///{folder / 'mlruns' / 'mlflow.db'}')\n"
        "folder = mlflow.artifacts.download_artifacts('models:/avfusion@champion', dst_path='champion')\n"
        "model = mlflow.pyfunc.load_model(folder)\n"
        "model.predict(pd.DataFrame({'video': ['face.mp4']})).to_csv('served.csv')\n"
        "import own.gated_sum\n"
        "assert 'champion' in own.gated_sum.__file__, own.gated_sum.__file__\n"
    )
    run(sys.executable, "-c", script, cwd=elsewhere)
    served, written = pd.read_csv(elsewhere / "served.csv"), pd.read_csv(folder / "out" / "face.csv")
    pd.testing.assert_series_equal(served["valence"], written["valence"], atol=1e-6, rtol=0)
    said = run(*AVFUSION, "predict", "face.mp4", "--model", str(folder / "models" / "fusion"), code=2, cwd=elsewhere)
    assert "own.gated_sum does not import: ModuleNotFoundError" in said
    assert "on PYTHONPATH" in said


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_dvc_trains_it_again_after_an_edit_and_no_other(tmp_path: Path) -> None:
    project = SmallProject(ProjectCopy.of_working_tree(tmp_path / "project").folder)
    project.set(SMALL)
    project.set({"train": {"model": NAME, "options": {"temperature": 0.5}}})
    model = project.folder / "own" / "gated_sum.py"
    model.write_text(FUSION, encoding="utf-8")
    done = project.must("dvc", "repro", "train")
    assert computed(done) >= {"GatedSum", "concat"}
    assert "DVC does not notice" not in done.output
    assert project.must("dvc", "repro", "train").stages == []

    project.edit("own/gated_sum.py", "(1 - gate) * x_v", "(2 - gate) * x_v")
    done = project.must("dvc", "repro", "train")
    assert done.stages == ["backbones", "features", "train"]
    assert computed(done) == {"GatedSum"}

    project.edit("own/gated_sum.py", '"""A gate says', '"""In other words, a gate says')
    done = project.must("dvc", "repro", "train")
    assert done.stages == ["backbones", "features", "train"]
    assert computed(done) == set()

    model.rename(project.folder / "gated_sum.py")
    project.set({"train": {"model": "gated_sum:GatedSum"}})
    done = project.must("dvc", "repro", "train")
    assert "warning: DVC does not notice edits of gated_sum.py: move what the models need to own/" in done.output
    project.edit("gated_sum.py", "(2 - gate) * x_v", "(3 - gate) * x_v")
    assert project.must("dvc", "repro", "train").stages == []
    assert computed(project.must("dvc", "repro", "--force", "--single-item", "train")) == {"GatedSum"}
