"""The package as a whole: no cycles between modules, and every public name means one thing."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
# What every module of its kind has: one for each kind of file that carries a stamp, or each disturbance.
SHARED = {"main", "read_stamp", "restamp", "disturb"}


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted((ROOT / "avfusion").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def run_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only type checkers read."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        yield child
        yield from run_nodes(child)


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """Modules of the package that a file imports, inside functions too."""
    found = set()
    for node in run_nodes(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name for name in inner if name in known} or {node.module}
    return found & known.keys()


def test_no_module_imports_itself_through_others() -> None:
    known = modules()
    below = {name: imports(path, known) for name, path in known.items()}
    done: set[str] = set()

    def walk(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " → ".join((*way[way.index(name) :], name))
        if name not in done:
            for other in sorted(below[name]):
                walk(other, (*way, name))
            done.add(name)

    for name in below:
        walk(name, ())


def test_a_public_name_is_defined_once() -> None:
    homes: dict[str, list[str]] = {}
    for module, path in modules().items():
        if module.startswith("avfusion.commands."):  # a command has the name that people type
            continue
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(module)
    twice = {name: places for name, places in homes.items() if len(places) > 1 and name not in SHARED}
    assert twice == {}
