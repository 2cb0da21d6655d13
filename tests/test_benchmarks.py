"""Scripts in benchmarks/ use names that the package has."""

import ast
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_what_a_script_imports_from_the_package_exists(script: Path) -> None:
    tree = ast.parse(script.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "avfusion":
            module = import_module(node.module or "")
            names = [alias.name for alias in node.names]
            missing = [name for name in names if not hasattr(module, name) and not find_spec(f"{node.module}.{name}")]
            assert missing == [], node.module
