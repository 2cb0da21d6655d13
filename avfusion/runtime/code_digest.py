"""Digests of the code that computes a result, so that a number belongs to the code beside it.

A digest covers the syntax trees of some modules and of all that they import within their project. What cannot change a
number is left out first: comments, docstrings, annotations, texts of errors, log and progress calls, imports that
nothing uses, and private functions that only served those. `avfusion.runtime.units` says which modules compute what,
and which are left out altogether.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

PACKAGE = "avfusion"
# Statements that only tell somebody something: calls of functions and methods with these names.
TELLING = frozenset(
    (
        *("print", "warn", "on_warning", "say", "_say", "debug", "info", "warning", "list_failures"),
        *("log_params", "log_metrics", "log_artifact", "log_dataset", "set_tags"),
    )
)
# Calls that make a text and do nothing else.
_WORDING = frozenset(("join", "str", "repr", "len", "sorted", "map", "format", "set", "list", "min", "max", "name"))


@dataclass(frozen=True)
class Module:
    """A module of a project: its name, file, whether it is a package's `__init__`, and what is left of its tree."""

    name: str
    path: Path
    tree: ast.Module
    imports: frozenset[tuple[str, str, str]]  # (module, name in it or "", name here), of what the tree uses

    @property
    def package(self) -> str:
        """The package that relative imports start from."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]


def code_digest(roots: Iterable[str], neutral: Iterable[str] = ()) -> str:
    """Digest of modules and of what they import within their project, 32 hexadecimal digits.

    Args:
        roots: names of modules, of this package or of any other that can be imported; none is executed.
        neutral: modules (or packages, with all inside) that are left out with what only they import.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    modules = import_closure(roots, neutral)
    used = [_identifiers(module.tree) for module in modules.values()]
    everywhere: dict[str, int] = {}
    for names in used:
        for name, count in names.items():
            everywhere[name] = everywhere.get(name, 0) + count
    listing = []
    for name, module in sorted(modules.items()):
        body = _without_unused(module.tree, everywhere)
        imports = sorted(module.imports)
        listing.append(f"{name}\n{imports}\n{_text(body)}\n")
    return hashlib.sha256("".join(listing).encode()).hexdigest()[:32]


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
    for root in waiting:
        if module_file(root) is None:
            raise ModuleNotFoundError(f"there is no module {root}", name=root)
    while waiting:
        name = waiting.pop()
        path = module_file(name)
        if name in found or path is None or is_neutral(name, left_out):
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
    bound = _bound_imports(tree, name if path.name == "__init__.py" else name.rpartition(".")[0])
    tree = ast.fix_missing_locations(_Numbers().visit(tree))
    _drop_dead_wording(tree)
    used = _identifiers(tree)
    exported = path.name == "__init__.py"  # names are taken from it by others
    return Module(name, path, tree, frozenset(entry for entry in bound if exported or used.get(entry[2])))


def _bound_imports(tree: ast.Module, package: str) -> set[tuple[str, str, str]]:
    """(module, name in it or "", name that it gets here) of all imports but those for type checkers."""
    found = set()
    for node in _run_nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found.add((alias.name, "", alias.asname or alias.name.partition(".")[0]))
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                parts = package.split(".")
                above = ".".join(parts[: len(parts) - node.level + 1])
                origin = f"{above}.{origin}" if origin else above
            found |= {(origin, alias.name, alias.asname or alias.name) for alias in node.names}
    return found


def _run_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below, without the blocks that only type checkers read."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and _for_type_checkers(child.test):
            for other in child.orelse:
                yield other
                yield from _run_nodes(other)
            continue
        yield child
        yield from _run_nodes(child)


def _for_type_checkers(test: ast.expr) -> bool:
    return _last_name(test) == "TYPE_CHECKING"


def _last_name(node: ast.expr) -> str:
    """`b` of `b` and of `a.b`, and of calls of these; "" where there is none."""
    if isinstance(node, ast.Call):
        return _last_name(node.func)
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


class _Numbers(ast.NodeTransformer):
    """Leaves out of a tree what cannot change a number."""

    def visit_Import(self, node: ast.Import) -> None:
        return None

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        return None

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        if _for_type_checkers(node.test):
            return [statement for one in node.orelse for statement in _as_list(self.visit(one))]
        self.generic_visit(node)
        return node if node.body or node.orelse else ast.Expr(node.test)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if isinstance(node.value, ast.Constant):
            return None  # a docstring, or a text that stands alone
        if isinstance(node.value, ast.Call) and self._tells(node.value):
            return None
        return self.generic_visit(node)

    @staticmethod
    def _tells(call: ast.Call) -> bool:
        if _last_name(call) in TELLING:
            return True
        function = call.func
        return isinstance(function, ast.Attribute) and _last_name(function.value) in ("warnings", "remarks")

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        """Which error it is stays where its class is named, since somebody may catch it; what it says does not."""
        named = node.exc is not None and _last_name(node.exc)
        node.exc = ast.Name(named, ast.Load()) if named and named[:1].isupper() else None
        node.cause = None
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if _last_name(node).endswith(("Error", "Warning")):
            return ast.Call(node.func, [], [])
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        """A field without a value keeps its name: the order of a dataclass's fields is their order in calls."""
        value = ast.Constant(None) if node.value is None else self.visit(node.value)
        return ast.Assign([node.target], value)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        self.generic_visit(node)
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets):
            return None
        return self.generic_visit(node)


def _as_list(visited: object) -> list[ast.stmt]:
    if visited is None:
        return []
    return visited if isinstance(visited, list) else [visited]  # type: ignore[list-item]


def _drop_dead_wording(tree: ast.Module) -> None:
    """Leave out local texts that only served what is left out already, until nothing changes."""
    for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]:
        while _drop_one_round(function):
            pass


def _drop_one_round(function: ast.FunctionDef) -> bool:
    loaded = {node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    dropped = False
    for node in ast.walk(function):
        for field in ("body", "orelse", "finalbody"):
            statements = getattr(node, field, None)
            if not isinstance(statements, list):
                continue
            kept = [statement for statement in statements if not _is_dead_text(statement, loaded)]
            if len(kept) < len(statements):
                setattr(node, field, kept)
                dropped = True
    return dropped


def _is_dead_text(statement: ast.stmt, loaded: set[str]) -> bool:
    if not isinstance(statement, ast.Assign) or not _only_words(statement.value):
        return False
    names = [node for target in statement.targets for node in ast.walk(target)]
    return all(isinstance(node, ast.Name | ast.Tuple | ast.Store) for node in names) and not any(
        isinstance(node, ast.Name) and node.id in loaded for node in names
    )


def _only_words(value: ast.expr) -> bool:
    """Whether an expression gives a value and does nothing else."""
    return all(_last_name(node) in _WORDING for node in ast.walk(value) if isinstance(node, ast.Call)) and not any(
        isinstance(node, ast.Await | ast.Yield | ast.YieldFrom | ast.NamedExpr) for node in ast.walk(value)
    )


def _identifiers(tree: ast.AST) -> dict[str, int]:
    """How often each identifier is used (not bound) below a node, in texts too, which `getattr` may look up."""
    found: dict[str, int] = {}
    for node in ast.walk(tree):
        name = ""
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            name = node.id
        elif isinstance(node, ast.Attribute):
            name = node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            name = node.value
        if name:
            found[name] = found.get(name, 0) + 1
    return found


def _without_unused(tree: ast.Module, everywhere: Mapping[str, int]) -> list[ast.stmt]:
    """The statements of a module without private functions and methods that nothing uses in the whole closure."""
    counts = dict(everywhere)
    removed: set[int] = set()

    def definitions(body: list[ast.stmt]) -> Iterator[ast.FunctionDef]:
        for statement in body:
            if isinstance(statement, ast.FunctionDef) and id(statement) not in removed:
                yield statement
            elif isinstance(statement, ast.ClassDef):
                yield from definitions(statement.body)

    found = True
    while found:
        found = False
        for function in list(definitions(tree.body)):
            own = _identifiers(function)
            private = function.name.startswith("_") and not function.name.endswith("__")
            if private and not function.decorator_list and counts.get(function.name, 0) == own.get(function.name, 0):
                removed.add(id(function))
                for name, count in own.items():
                    counts[name] -= count
                found = True

    def kept(body: list[ast.stmt]) -> list[ast.stmt]:
        statements: list[ast.stmt] = []
        for statement in body:
            if id(statement) in removed:
                continue
            if isinstance(statement, ast.ClassDef):
                parts = {field: getattr(statement, field) for field in statement._fields}
                statement = ast.ClassDef(**(parts | {"body": kept(statement.body)}))
            statements.append(statement)
        return statements

    return kept(tree.body)


def _text(node: object) -> str:
    """A tree as a text that is the same under all versions of Python: no positions, no empty fields, no contexts."""
    if isinstance(node, list):
        return "[" + ",".join(_text(one) for one in node) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = (
        f"{field}={_text(value)}"
        for field in node._fields
        if field not in ("ctx", "type_comment", "kind", "type_params")
        and (value := getattr(node, field, None)) is not None
        and value != []
    )
    value = "None" if isinstance(node, ast.Constant) and node.value is None else ""
    return f"{type(node).__name__}({value}{';'.join(fields)})"


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
            yield origin
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
    here, there = _home(top), _home(other)
    return here is not None and here == there and here.name not in ("site-packages", "dist-packages")


def _home(top: str) -> Path | None:
    """The folder that a top-level module or package lies in."""
    path = module_file(top)
    if path is None:
        return None
    return path.parent.parent if path.name == "__init__.py" else path.parent


@lru_cache(maxsize=4096)
def module_file(name: str) -> Path | None:
    """The source file of a module; None where there is none. Nothing of it is executed."""
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
