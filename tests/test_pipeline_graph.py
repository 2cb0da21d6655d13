"""dvc.yaml: DVC accepts it; stages depend on exactly the code, and take exactly the parameters, that they use."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from avfusion.params.params import SECTIONS

ROOT = Path(__file__).parents[1]
STAGES: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


@pytest.fixture(scope="module")
def dependencies() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dependencies", ROOT / "pipelines" / "dependencies.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def out_names(stage: dict[str, Any], kind: str) -> list[str]:
    return [next(iter(out)) if isinstance(out, dict) else out for out in stage.get(kind, [])]


@pytest.mark.parametrize("name", STAGES)
def test_code_deps_are_the_imports(name: str, dependencies: ModuleType) -> None:
    listed = [dep for dep in STAGES[name]["deps"] if dep.endswith(".py")]
    assert listed == dependencies.first_party_files(ROOT / "pipelines" / f"{name}.py"), "run `make deps`"


@pytest.mark.parametrize("name", STAGES)
def test_params_are_the_sections_that_the_script_asks_for(name: str) -> None:
    tree = ast.parse((ROOT / "pipelines" / f"{name}.py").read_text())
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "stage"]
    assert len(calls) == 1
    asked_name, *sections = [ast.literal_eval(argument) for argument in calls[0].args]
    assert asked_name == name
    assert sorted(sections) == STAGES[name]["params"]
    assert "execution" not in sections
    assert set(sections) <= set(SECTIONS)


@pytest.mark.parametrize("name", STAGES)
def test_order_of_keys_and_command(name: str) -> None:
    order = ["cmd", "deps", "params", "outs", "metrics", "plots"]
    keys = list(STAGES[name])
    assert keys == [key for key in order if key in keys]
    assert STAGES[name]["cmd"] == f"python pipelines/{name}.py"


def test_metrics_are_left_to_git() -> None:
    for name, stage in STAGES.items():
        for metric in stage.get("metrics", []):
            assert next(iter(metric.values()))["cache"] is False, name
    assert out_names(STAGES["evaluate"], "metrics") == ["reports/evaluate/metrics.json"]


def test_every_data_dep_is_made_by_an_earlier_stage() -> None:
    made: set[str] = set()
    for name, stage in STAGES.items():
        for dep in stage["deps"]:
            assert dep.endswith(".py") or dep in made, f"{name}: {dep}"
        made |= {out for kind in ("outs", "metrics", "plots") for out in out_names(stage, kind)}


def test_stages_depend_on_the_backbones_that_they_log_or_name() -> None:
    assert {"models/backbones", "reports/backbones/history.csv"} <= set(STAGES["train"]["deps"])
    assert "models/backbones" in STAGES["evaluate"]["deps"]


def test_dvc_accepts_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "stage", "list", "--name-only"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.split() == list(STAGES), done.stderr
