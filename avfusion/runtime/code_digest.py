"""Digests of the code that computes a result, so that a number belongs to the code beside it.

A digest covers the syntax trees of some modules and of all that they import within their project. What cannot change a
number is left out first: comments, docstrings, annotations, texts of errors, log and progress calls, private functions
that only served those, and imports that nothing uses (in this package, whose modules do nothing when imported).
Wherever that is not certain, the code stays in: a result that is made anew without need costs time, one that is kept
wrongly costs trust. `avfusion.runtime.units` says which modules compute what, and which are left out altogether.
"""

import ast
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path

from avfusion.runtime.code_trees import (
    PACKAGE,
    bound_imports,
    identifiers,
    numeric_tree,
    tree_text,
    unused_functions,
    without,
)

_MODULE_NAME = re.compile(r"[A-Za-z_]\w*(\.\w+)+", re.ASCII)


_IDLE = ("__future__", "collections.abc", "typing")  # which do nothing when they are imported


@dataclass(frozen=True, eq=False)
class Module:
    """A module of a project: its name, file, what is left of its tree, and how often that uses each identifier."""

    name: str
    path: Path
    tree: ast.Module
    imports: frozenset[tuple[str, str, str]]  # (module, name in it or "", name here), of what the tree uses
    used: Mapping[str, int]


def code_digest(roots: Iterable[str], neutral: Iterable[str] = ()) -> str:
    """Digest of modules and of what they import within their project, 32 hexadecimal digits.

    Args:
        roots: names of modules, of this package or of any other that can be imported; none is executed.
        neutral: modules (or packages, with all inside but the roots) that are left out with what only they import.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    modules = import_closure(roots, neutral)
    everywhere: dict[str, int] = {}
    for module in modules.values():
        for name, count in module.used.items():
            everywhere[name] = everywhere.get(name, 0) + count
    listing = []
    for name, module in sorted(modules.items()):
        unused = unused_functions(module.tree, everywhere)
        listing.append(f"{name}\n{sorted(module.imports)}\n{_text(module, unused)}\n")
    return hashlib.sha256("".join(listing).encode()).hexdigest()[:32]


@lru_cache(maxsize=1024)
def _text(module: Module, unused: frozenset[ast.FunctionDef]) -> str:
    return tree_text(without(module.tree.body, unused))


def import_closure(roots: Iterable[str], neutral: Iterable[str] = ()) -> dict[str, Module]:
    """The modules of `roots` and all that they import within their project, neutral ones left out, by name.

    A package's own `__init__` is among them only where a name is taken from it: in this project they re-export, no
    more. Imports inside functions count, those under `if TYPE_CHECKING` do not.

    Raises:
        ModuleNotFoundError: a root does not exist.
    """
    left_out = tuple(neutral)
    found: dict[str, Module] = {}
    waiting = list(roots)
    named = frozenset(waiting)
    for root in waiting:
        existing_file(root)
    while waiting:
        name = waiting.pop()
        path = module_file(name)
        if name in found or path is None or (name not in named and is_neutral(name, left_out)):
            continue
        module = found[name] = read_module(name, path)
        waiting += _imported(module)
    return found


def is_neutral(module: str, neutral: Iterable[str]) -> bool:
    """Whether a module is in the list, or lies inside a package that is."""
    return any(module == entry or module.startswith(f"{entry}.") for entry in neutral)


def read_module(name: str, path: Path) -> Module:
    """A module's tree without what cannot change a number."""
    status = path.stat()
    return _read(name, path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1024)
def _read(name: str, path: Path, changed_ns: int, size: int) -> Module:
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    bound = bound_imports(tree, package)
    ours = name.partition(".")[0] == PACKAGE
    tree = numeric_tree(tree, package, ours=ours)
    used = identifiers(tree)
    # Names are taken from an `__init__` by others, and modules from outside may be imported for what they do then.
    exported = path.name == "__init__.py" or not ours
    kept = {entry for entry in bound if (exported and entry[0] not in _IDLE) or entry[1] == "*" or used.get(entry[2])}
    return Module(name, path, tree, frozenset(kept | _named_modules(tree, name)), used)


def _named_modules(tree: ast.Module, name: str) -> set[tuple[str, str, str]]:
    """Modules of the same project whose names stand in texts, which `import_module` may look up."""
    top = name.partition(".")[0]
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    names = {text for text in texts if text.startswith(f"{top}.") and _MODULE_NAME.fullmatch(text)}
    return {(text, "", "") for text in names if module_file(text) is not None}


def _imported(module: Module) -> Iterator[str]:
    """Modules of the same project that a module imports."""
    top = module.name.partition(".")[0]
    for origin, name, _ in module.imports:
        if not _same_project(origin, top):
            continue
        inside = f"{origin}.{name}" if name and name != "*" else ""
        if inside and module_file(inside) is not None:
            yield inside
        else:
            yield _exported_from(origin).get(name, origin)
        if origin.partition(".")[0] != PACKAGE:  # others' packages may do anything when they are imported
            parts = origin.split(".")
            yield from (".".join(parts[:depth]) for depth in range(1, len(parts)))


def _same_project(module: str, top: str) -> bool:
    """Whether a module belongs to the project of `top`: the same package, or one beside it that is not installed."""
    other = module.partition(".")[0]
    if other == top:
        return True
    if top == PACKAGE or other == PACKAGE:
        return other == PACKAGE  # a model from outside may build on this package's modules
    shared = _homes(top) & _homes(other)
    return any(folder.name not in ("site-packages", "dist-packages") for folder in shared)


def _homes(top: str) -> set[Path]:
    """The folders that a top-level module or package lies in: several, if parts of a package without `__init__` do."""
    spec = find_spec(top)
    if spec is None:
        return set()
    if spec.submodule_search_locations is not None:
        return {Path(folder).parent for folder in spec.submodule_search_locations}
    return {Path(spec.origin).parent} if spec.origin and spec.origin.endswith(".py") else set()


@cache
def _exported_from(package: str) -> dict[str, str]:
    """The modules that define what a package of this project re-exports, by name; imports for type checkers too.

    Some packages import names when they are first used: these tell type checkers where the names come from.
    """
    path = module_file(package)
    if path is None or path.name != "__init__.py" or package.partition(".")[0] != PACKAGE:
        return {}
    imports = [
        node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom)
    ]
    return {a.asname or a.name: node.module for node in imports if node.module for a in node.names if not node.level}


def module_file(name: str) -> Path | None:
    """The source file of a module; None where there is none. Nothing of it is executed."""
    try:
        return existing_file(name)
    except ModuleNotFoundError:
        return None


@lru_cache(maxsize=4096)
def existing_file(name: str) -> Path:
    """The source file of a module; a missing one is looked for again the next time.

    Raises:
        ModuleNotFoundError: there is none.
    """
    path = _find_module(name)
    if path is None:
        raise ModuleNotFoundError(f"there is no module {name}", name=name)
    return path


def _find_module(name: str) -> Path | None:
    top, *rest = name.split(".")
    spec = find_spec(top)
    if spec is None:
        return None
    if spec.submodule_search_locations is None:
        return Path(spec.origin) if not rest and spec.origin and spec.origin.endswith(".py") else None
    folders = [Path(folder) for folder in spec.submodule_search_locations]
    for part in rest[:-1]:
        folders = [folder / part for folder in folders]
    last = folders if not rest else [folder / rest[-1] for folder in folders]
    candidates = [folder / "__init__.py" for folder in last]
    candidates += [path.with_suffix(".py") for path in last] if rest else []
    return next((path for path in candidates if path.is_file()), None)
