"""Every module that a stage or `predict` runs is digested by a unit of its results, or is listed with a reason."""

import ast
import importlib
from pathlib import Path

import pytest

import avfusion
from avfusion.backbones.catalogue import backbone_module, backbone_names
from avfusion.fusion.catalogue import fusion_module, fusion_names
from avfusion.runtime.code_digest import import_closure, is_neutral, module_file
from avfusion.runtime.units import NEUTRAL, UNITS, unit_digest

PACKAGE = Path(avfusion.__file__).parent
ROOT = PACKAGE.parent
NETWORKS = {
    *(backbone_module(stream, name) for stream in ("audio", "visual") for name in backbone_names(stream)),
    *(fusion_module(name) for name in fusion_names()),
}
PREDICT = PACKAGE / "commands" / "predict.py"
PROGRAMS = [*sorted((ROOT / "pipelines").glob("*.py")), PREDICT]

# Units of the results that a program keeps.
KEPT = {
    "render": ("demo",),
    "corpus": ("probes",),
    "labels": ("labels",),
    "frames": ("crops", "faces", "sheets"),
    "audio": ("audio",),
    "backbones": ("audio_backbone", "visual_backbone"),
    "features": ("features",),
    "train": ("fusion",),
    "evaluate": ("evaluation",),
    "robustness": ("condition", "robustness", "fusion"),
    "predict": ("prediction",),
}
# Modules that decide nothing of what is kept where no unit of the program has them.
ANYWHERE = {
    "backbones.origins": "where weights come from; they are among the inputs by content",
    "corpora.csv_table": "which tracks there are; their hashes are among the inputs",
    "corpora.layout": "where files of a corpus lie",
    "corpora.settings": "forms of sections of params.yaml, whose values are among the inputs",
    "corpora.table": "which tracks there are; their hashes are among the inputs",
    "fusion.reading": "which sequences a model reads: where no model is run, a check of parameters",
    "media.time_limits": "when a worker is given up",
    "runtime.named_tensors": "how published weights are read, once",
    "runtime.settings": "forms of sections of params.yaml, whose values are among the inputs",
}
_ANEW = "for files that are written anew at every run"
_SPEC = "imported beside functions that only make a spec, which is among the inputs"
_CONTENT = "where inputs lie; they are known by content"
_TRAINED = "training, whose models are among the inputs by content"
_ASIDE = "pages beside the tables, written whenever these are"
# The same, for some programs.
ELSEWHERE = {
    "corpus": dict.fromkeys(
        (
            "corpora.crops",
            "data.annotations",
            "data.label_times",
            "data.labels",
            "data.category_labels",
            "data.own_labels",
        ),
        _ANEW,
    ),
    "backbones": dict.fromkeys(
        (*(f"backbones.{name}" for name in ("extraction", "frozen", "load_ahead", "track_features")), "data.features"),
        _SPEC,
    ),
    "train": {
        **dict.fromkeys(
            (
                *("corpora.demo.truth", "experiments.calibrating", "reports.plots.style", "reports.report"),
                "scoring.track_predictions",
            ),
            _ANEW,
        ),
        **dict.fromkeys(
            (
                f"scoring.{name}"
                for name in ("calibration", "calibration_fit", "intervals", "metrics", "released_protocol", "smoothing")
            ),
            _ANEW,
        ),
    },
    "evaluate": {
        "data.labelled_tracks": _CONTENT,
        "experiments.train_unit": _TRAINED,
        **dict.fromkeys(
            (
                *(f"training.{name}" for name in ("averaging", "checkpoints", "logger", "loop", "losses")),
                *(f"training.{name}" for name in ("mapped_features", "precision", "schedule", "sequences")),
            ),
            _TRAINED,
        ),
    },
    "robustness": {"data.labelled_tracks": _CONTENT},
    "predict": {
        **dict.fromkeys(("data.annotations", "data.labels"), "for the organisers' sample file"),
        **dict.fromkeys(("reports.page.charts", "reports.page.templates", "reports.plots.style"), _ASIDE),
    },
}


def reached_from(script: Path, *left_out: str) -> set[str]:
    """All modules of the package that a script may import, directly or not."""
    names = set()
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "avfusion":
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            names |= {name if module_file(name) else node.module for name in inside}
    assert names, script
    return set(import_closure(names, ["avfusion.runtime.units", *left_out]))  # which names modules of all rooms


@pytest.fixture(scope="module")
def digested() -> set[str]:
    found = set(import_closure(NETWORKS, NEUTRAL))
    return found.union(*(import_closure(roots, NEUTRAL) for roots in UNITS.values()))


@pytest.mark.parametrize("script", PROGRAMS, ids=lambda path: path.stem)
def test_every_module_is_digested_or_neutral(script, digested):
    modules = reached_from(script)
    packages = {name for name in modules if module_file(name).name == "__init__.py"}
    missing = {name for name in modules - packages - digested if not is_neutral(name, NEUTRAL)}
    assert not missing, "neither in the closure of a unit nor in NEUTRAL, where each has its reason"


@pytest.mark.parametrize("program", KEPT)
def test_what_a_program_keeps_is_digested_for_it(program):
    """Being digested for the results of another program is not enough."""
    script = PREDICT if program == "predict" else ROOT / "pipelines" / f"{program}.py"
    # These import the package itself, to know its folder, and with it the names of all rooms.
    modules = reached_from(script, "avfusion.runtime.workers", "avfusion.tracking.model")
    modules = {name for name in modules if module_file(name).name != "__init__.py" and not is_neutral(name, NEUTRAL)}
    roots = [root for unit in KEPT[program] for root in UNITS[unit]]
    undigested = modules - set(import_closure([*roots, *NETWORKS], NEUTRAL))
    found = {name.removeprefix("avfusion.") for name in undigested} - set(ANYWHERE)
    assert found == set(ELSEWHERE.get(program, {})), "digest it for this program, or say why not"


def test_neutral_modules_exist_and_have_a_reason():
    assert [name for name in NEUTRAL if module_file(name) is None] == []
    assert all(len(reason.split()) > 3 for reason in NEUTRAL.values())


def test_each_unit_has_its_own_digest():
    digests = {unit: unit_digest(unit) for unit in UNITS}
    assert len(set(digests.values())) == len(UNITS)
    assert len({unit_digest("fusion", network) for network in NETWORKS}) == len(NETWORKS)


def exported_only(tree: ast.Module) -> list[str]:
    """Statements of a package's `__init__` that do more than to name what is elsewhere."""
    odd = []
    for statement in tree.body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            continue
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
            continue
        if isinstance(statement, ast.Assign) and all(isinstance(target, ast.Name) for target in statement.targets):
            calls = [ast.unparse(node.func) for node in ast.walk(statement.value) if isinstance(node, ast.Call)]
            if set(calls) <= {"version", "dict.fromkeys", "names_from"}:
                continue
        if isinstance(statement, ast.FunctionDef) and statement.name == "__dir__":
            continue
        odd.append(ast.unparse(statement).splitlines()[0])
    return odd


@pytest.mark.parametrize("init", sorted(PACKAGE.rglob("__init__.py")), ids=lambda path: path.parent.name)
def test_packages_only_name_what_lies_in_their_modules(init, digested):
    """What a package runs when it is imported is in no digest."""
    package = ".".join(init.parent.relative_to(ROOT).parts)
    if not any(module.startswith(f"{package}.") for module in digested):
        pytest.skip("nothing in it is digested")
    assert exported_only(ast.parse(init.read_text(encoding="utf-8"))) == []


def test_a_root_is_digested_though_its_room_is_neutral():
    assert is_neutral("avfusion.presentation.tables", NEUTRAL)
    assert "avfusion.presentation.tables" in import_closure(UNITS["prediction"], NEUTRAL)


def test_lazy_names_of_packages_are_followed():
    for package in ("avfusion", "avfusion.backbones", "avfusion.fusion"):
        homes = getattr(importlib.import_module(package), "_HOMES", {})
        for home in homes.values():
            assert home in import_closure([package]), f"{package} gives names of {home}"
