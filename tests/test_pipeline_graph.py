"""dvc.yaml: DVC accepts it; stages depend on the rooms that they reach, and take the parameters that they use."""

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from avfusion.params.params import SECTIONS
from avfusion.runtime.code_digest import module_file
from avfusion.runtime.code_trees import bound_imports

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "dvc.yaml").read_text()
STAGES: dict[str, Any] = yaml.safe_load(TEXT)["stages"]
# It imports the settings of all rooms to compose them; a stage reads its own sections only.
COMPOSES_ALL = "avfusion.params"
# Models and backbones of the project itself; the modules below import them by name.
OWN, IMPORT_OWN = "own", {"avfusion.fusion.registry", "avfusion.backbones.registry"}
BUILDING = {"backbones", "features", "train", "evaluate", "robustness"}
# Small, and what remembers their parts lies elsewhere (probes, MLflow's registry): DVC may delete them before a run.
PASSING = {"data/corpus/tracks.parquet", "reports/register/model_version.json"}


def outs(stage: dict[str, Any], *kinds: str) -> dict[str, dict[str, Any]]:
    """Path to options of a stage's outs of some kinds (default: all)."""
    found: dict[str, dict[str, Any]] = {}
    for kind in kinds or ("outs", "metrics", "plots"):
        for out in stage.get(kind, []):
            found |= out if isinstance(out, dict) else {out: {}}
    return found


def sections_of(name: str) -> list[str]:
    """The sections of params.yaml that a stage's script asks for."""
    tree = ast.parse((ROOT / "pipelines" / f"{name}.py").read_text())
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "stage"]
    assert len(calls) == 1
    asked_name, *sections = [ast.literal_eval(argument) for argument in calls[0].args]
    assert asked_name == name
    return sections


def imports_of(script: Path) -> set[str]:
    """The modules of the package that a script reaches by imports, those inside functions included."""
    found: set[str] = set()
    waiting = [("pipelines", script)]
    while waiting:
        package, path = waiting.pop()
        for module, name, _ in bound_imports(ast.parse(path.read_text()), package):
            inside = f"{module}.{name}" if name else module
            reached = inside if module_file(inside) else module
            file = module_file(reached) if reached.startswith("avfusion.") else None
            if file and reached not in found:
                found.add(reached)
                if not reached.startswith(f"{COMPOSES_ALL}."):
                    waiting.append((reached if file.name == "__init__.py" else reached.rpartition(".")[0], file))
    return found


def test_it_is_read_in_one_sitting() -> None:
    assert len(TEXT.splitlines()) <= 200
    assert sorted(STAGES) == sorted(path.stem for path in (ROOT / "pipelines").glob("*.py"))


@pytest.mark.parametrize("name", STAGES)
def test_code_deps_are_the_script_and_the_rooms_that_it_reaches(name: str) -> None:
    reached = imports_of(ROOT / "pipelines" / f"{name}.py")
    reached |= {SECTIONS[section].__module__ for section in sections_of(name)}
    rooms = {"/".join(module.split(".")[:2]) for module in reached}
    listed = [dep for dep in STAGES[name]["deps"] if dep.startswith(("avfusion", "pipelines"))]
    assert sorted(listed) == sorted(rooms | {f"pipelines/{name}.py"})
    assert all((ROOT / room).is_dir() for room in rooms), "a loose module beside the rooms"


@pytest.mark.parametrize("name", STAGES)
def test_stages_that_build_models_depend_on_the_projects_own(name: str) -> None:
    builds = not IMPORT_OWN.isdisjoint(imports_of(ROOT / "pipelines" / f"{name}.py"))
    assert (OWN in STAGES[name]["deps"]) == builds == (name in BUILDING)


def test_bytecode_is_no_part_of_a_room() -> None:
    assert {"__pycache__/", "*.pyc"} <= set((ROOT / ".dvcignore").read_text().splitlines())


@pytest.mark.parametrize("name", STAGES)
def test_params_are_the_sections_that_the_script_asks_for(name: str) -> None:
    sections = sections_of(name)
    # The stage `backbones` reads one key of section `train`, whose other keys are none of its business.
    assert sorted(sections) == [param.partition(".")[0] for param in STAGES[name]["params"]]
    assert "execution" not in sections
    assert set(sections) <= set(SECTIONS)


@pytest.mark.parametrize("name", STAGES)
def test_order_of_keys_and_command(name: str) -> None:
    order = ["cmd", "deps", "params", "outs", "metrics", "plots"]
    keys = list(STAGES[name])
    assert keys == [key for key in order if key in keys]
    assert STAGES[name]["cmd"] == f"python pipelines/{name}.py"


@pytest.mark.parametrize("name", STAGES)
def test_results_persist(name: str) -> None:
    """DVC deletes other outs before a stage runs, and with them what the stage would have kept."""
    passing = {path for path, options in outs(STAGES[name]).items() if not options.get("persist")}
    assert passing == PASSING & set(outs(STAGES[name]))


def test_numbers_are_left_to_git() -> None:
    """A commit shows what it scored, in a clone without DVC's remote, too."""
    uncached = {
        path for stage in STAGES.values() for path, options in outs(stage).items() if not options.get("cache", True)
    }
    numbers = {"reports/summary.json", "reports/evaluate/metrics.json", "reports/train/metrics.json"}
    assert uncached == numbers | {"reports/train/run.json"}
    every = [path for stage in STAGES.values() for path in outs(stage)]
    ignored = subprocess.run(["git", "check-ignore", "--no-index", *every], cwd=ROOT, capture_output=True, text=True)
    assert set(every) - set(ignored.stdout.split()) == uncached


def test_the_metric_is_one_small_file() -> None:
    assert [path for stage in STAGES.values() for path in outs(stage, "metrics")] == ["reports/summary.json"]


def test_plots_of_tables_leave_out_what_has_no_value() -> None:
    """The audio backbone may stop epochs before the visual one: its blank cells are no zeros."""
    whole = yaml.safe_load(TEXT)["plots"]
    tables = [options for plot in whole for options in plot.values()]
    assert {path for options in tables for path in options["y"]} == {
        "reports/backbones/history.csv",
        "reports/train/history.csv",
    }
    assert {options["template"] for options in tables} == {"epochs"}
    template = json.loads((ROOT / ".dvc" / "plots" / "epochs.json").read_text())
    assert {"filter": "datum['<DVC_METRIC_Y>'] !== ''"} in template["transform"]
    pictures = [path for stage in STAGES.values() for path in outs(stage, "plots")]
    assert all(path.endswith(".png") for path in pictures)


def test_every_data_dep_is_made_by_an_earlier_stage() -> None:
    made: set[str] = set()
    for name, stage in STAGES.items():
        for dep in stage["deps"]:
            assert dep.startswith(("avfusion/", "pipelines/")) or dep in made | {OWN}, f"{name}: {dep}"
        made |= set(outs(stage))


def test_stages_depend_on_the_backbones_that_they_log_or_name() -> None:
    assert {"models/backbones", "reports/backbones/history.csv"} <= set(STAGES["train"]["deps"])
    assert "models/backbones" in STAGES["evaluate"]["deps"]


def test_dvc_accepts_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "stage", "list", "--name-only"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.split() == list(STAGES), done.stderr
