"""Every module that a stage or `predict` runs is digested by a unit, or is in the list of neutral ones."""

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
PROGRAMS = [*sorted((ROOT / "pipelines").glob("*.py")), PACKAGE / "commands" / "predict.py"]


def reached_from(script: Path) -> set[str]:
    """All modules of the package that a script may import, directly or not."""
    names = set()
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "avfusion":
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            names |= {name if module_file(name) else node.module for name in inside}
    assert names, script
    return set(import_closure(names, ["avfusion.runtime.units"]))  # which names modules of all rooms


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
