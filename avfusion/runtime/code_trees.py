"""Syntax trees of modules without what cannot change a number.

Left out are comments, docstrings, annotations, texts of errors, log and progress calls, and what only served those.
Wherever that is not certain, the code stays in.
"""

import ast
import builtins
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

PACKAGE = "avfusion"
# Statements that only tell somebody something: calls of functions and methods with these names, in this package.
TELLING = frozenset(
    (
        *("print", "warn", "on_warning", "say", "_say", "debug", "info", "warning", "list_failures"),
        *("log_params", "log_metrics", "log_artifact", "log_dataset", "set_tags"),
    )
)
# In other modules: `print`, and these methods of these objects.
_LOGGING = {"warn", "debug", "info", "warning"}, {"warnings", "logging", "logger", "log", "_logger", "LOGGER"}
# Calls that give a value and do nothing else.
_WORDING = frozenset(
    (
        *("str", "repr", "len", "format", "int", "float", "round", "items", "keys", "values", "tags"),
        *("perf_counter", "counted", "byte_size", "duration", "in_words"),
    )
)
# Calls that do nothing else unless what they go through is an iterator, of which they take the elements.
_CONSUMING = frozenset(("join", "list", "map", "max", "min", "set", "sorted"))
_DISPLAYS = (ast.Constant, ast.JoinedStr, ast.List, ast.Tuple, ast.Set, ast.Dict)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_STREAMS = ("stdout", "stderr")
_OWN_ERRORS = ("AVFusionError", "BadInputError")
# Bases that ask nothing of the annotations of a class, and call none of its private methods.
_PLAIN_BASES = frozenset(("Protocol", "Generic", "ABC", "NamedTuple", "object"))


def numeric_tree(tree: ast.Module, package: str, *, ours: bool) -> ast.Module:
    """What of a module can change a number; `tree` is changed.

    Args:
        package: that its relative imports start from.
        ours: it belongs to this package, whose functions with names in `TELLING` only tell.
    """
    numeric = ast.fix_missing_locations(_Numbers(package, ours, _pure_functions(tree)).visit(tree))
    _drop_dead_wording(numeric)
    return numeric


def bound_imports(tree: ast.Module, package: str) -> set[tuple[str, str, str]]:
    """(module, name in it or "", name that it gets here) of all imports but those for type checkers."""
    found = set()
    for node in _run_nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found.add((alias.name, "", alias.asname or alias.name.partition(".")[0]))
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(node, package)
            found |= {(origin, alias.name, alias.asname or alias.name) for alias in node.names}
    return found


def _origin(node: ast.ImportFrom, package: str) -> str:
    """The module that names are imported from, relative imports resolved."""
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    above = ".".join(parts[: len(parts) - node.level + 1])
    return f"{above}.{node.module}" if node.module else above


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
    """Leaves out of a tree what cannot change a number.

    Args:
        package: that relative imports start from.
        ours: the module belongs to this package, whose functions with names in `TELLING` only tell.
        pure: names of its private functions that give a value and do nothing else.
    """

    def __init__(self, package: str, ours: bool, pure: frozenset[str]) -> None:
        self._package, self._ours, self._pure = package, ours, pure
        self._converts = False  # whether the class being visited may convert values by its annotations

    def visit_Module(self, node: ast.Module) -> ast.AST:
        """Imports at the top stand in `Module.imports`, in no order."""
        node.body = [statement for statement in node.body if not isinstance(statement, ast.Import | ast.ImportFrom)]
        return self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        """One below the top stays where it is: it may depend on a condition, or name something else elsewhere."""
        return ast.ImportFrom(_origin(node, self._package), node.names, 0)

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        if _for_type_checkers(node.test):
            return [statement for one in node.orelse for statement in _as_list(self.visit(one))]
        self.generic_visit(node)
        return node if node.body or node.orelse else ast.Expr(node.test)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        call = node.value
        if isinstance(call, ast.Constant):
            return None  # a docstring, or a text that stands alone
        if isinstance(call, ast.Call):
            if self._tells(call):
                return None
            if _notes(call) and self._only_words(*call.args):
                return ast.Expr(ast.Call(call.func, [], []))  # that there is a warning may matter
        return self.generic_visit(node)

    def _tells(self, call: ast.Call) -> bool:
        name, function = _last_name(call), call.func
        if self._ours or isinstance(function, ast.Name):
            telling = name in TELLING if self._ours else name == "print"
        else:
            methods, objects = _LOGGING
            telling = name in methods and isinstance(function, ast.Attribute) and _last_name(function.value) in objects
        files = [keyword.value for keyword in call.keywords if keyword.arg == "file"]
        shown = all(_last_name(file) in _STREAMS for file in files)
        return telling and shown and self._only_words(*call.args, *(keyword.value for keyword in call.keywords))

    def _only_words(self, *values: ast.expr) -> bool:
        return all(_only_words(value, self._pure) for value in values)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        """Which error it is stays where its class is named, since somebody may catch it; what it says does not."""
        named = "" if node.exc is None else _last_name(node.exc)
        head = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        own = isinstance(head, ast.Name) and named.endswith("Error")  # a library's own are named as its attributes
        in_ours = self._ours and (own or not named[:1].isupper())
        if not (_is_error(named) or in_ours):
            return self.generic_visit(node)  # it may carry a value
        node.exc = ast.Name(named, ast.Load()) if named[:1].isupper() else None
        node.cause = None
        return node

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        node.msg = None
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        error = isinstance(node.func, ast.Name) and _is_error(node.func.id)
        if error and not node.keywords and self._only_words(*node.args):
            return ast.Call(node.func, [], [])
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        outside, self._converts = self._converts, _has_demanding_base(node)
        self.generic_visit(node)
        self._converts = outside
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        """A field without a value keeps its name: the order of a dataclass's fields is their order in calls.

        Annotations stay where somebody reads them: in classes such as pydantic's, and where they say how a field of a
        dataclass is set.
        """
        if self._converts or _last_name(_head(node.annotation)) in ("ClassVar", "InitVar", "KW_ONLY"):
            return self.generic_visit(node)
        value = ast.Name("__unset__", ast.Load()) if node.value is None else self.visit(node.value)
        return ast.Assign([node.target], value)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Annotations stay where a decorator chooses a function by them (`functools.singledispatch`)."""
        if any(_last_name(decorator) == "register" for decorator in node.decorator_list):
            return node
        outside, self._converts = self._converts, False
        node.returns = None
        self.generic_visit(node)
        self._converts = outside
        return node

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets):
            return None
        return self.generic_visit(node)


def _notes(call: ast.Call) -> bool:
    """Whether a call adds to a list of warnings."""
    function = call.func
    return (
        isinstance(function, ast.Attribute)
        and function.attr == "append"
        and _last_name(function.value) in ("warnings", "remarks")
    )


def _is_error(name: str) -> bool:
    """Whether a class is an error of this package or of Python that carries a text and no value."""
    found = getattr(builtins, name, None)
    carrying = StopIteration, StopAsyncIteration
    return name in _OWN_ERRORS or (
        isinstance(found, type) and issubclass(found, Exception) and not issubclass(found, carrying)
    )


def _head(annotation: ast.expr) -> ast.expr:
    return annotation.value if isinstance(annotation, ast.Subscript) else annotation


def _has_demanding_base(node: ast.ClassDef) -> bool:
    return any(_last_name(_head(base)) not in _PLAIN_BASES for base in node.bases)


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
    needed = {node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    for node in ast.walk(function):
        if isinstance(node, ast.Global | ast.Nonlocal):
            needed |= set(node.names)
    dropped = False
    for node in _own_nodes(function):
        for field in ("body", "orelse", "finalbody"):
            statements = getattr(node, field, None)
            if not isinstance(statements, list):
                continue
            kept = [statement for statement in statements if not _is_dead_text(statement, needed)]
            if len(kept) < len(statements):
                setattr(node, field, kept)
                dropped = True
    return dropped


def _own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    """A function and what is below it, without functions and classes of their own."""
    yield function
    for child in ast.iter_child_nodes(function):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            yield from _own_nodes(child)


def _is_dead_text(statement: ast.stmt, needed: set[str]) -> bool:
    if not isinstance(statement, ast.Assign) or not _is_text(statement.value) or not _only_words(statement.value):
        return False
    return all(isinstance(target, ast.Name) and target.id not in needed for target in statement.targets)


def _is_text(value: ast.expr) -> bool:
    if isinstance(value, ast.BinOp):
        return _is_text(value.left) or _is_text(value.right)
    if isinstance(value, ast.IfExp):
        return _is_text(value.body) and _is_text(value.orelse)
    if isinstance(value, ast.Call):
        function = value.func
        return isinstance(function, ast.Attribute) and function.attr in ("join", "format") and _is_text(function.value)
    return isinstance(value, ast.JoinedStr) or (isinstance(value, ast.Constant) and isinstance(value.value, str))


def _only_words(value: ast.expr, pure: frozenset[str] = frozenset()) -> bool:
    """Whether an expression gives a value and does nothing else."""
    for node in ast.walk(value):
        if isinstance(node, ast.Await | ast.Yield | ast.YieldFrom | ast.NamedExpr | ast.Starred):
            return False
        if isinstance(node, ast.comprehension) and not _is_no_iterator(node.iter):
            return False
        if isinstance(node, ast.Call):
            name, arguments = _last_name(node), node.args
            if name == "map":
                function, *arguments = arguments
                if _last_name(function) not in _WORDING | pure:
                    return False
            if name in _CONSUMING and (node.keywords or not all(map(_is_no_iterator, arguments))):
                return False
            if name not in _CONSUMING | _WORDING | pure:
                return False
    return True


def _is_no_iterator(value: ast.expr) -> bool:
    """Whether an expression is certainly a collection or a text, or an iterator that was just made of one."""
    if isinstance(value, ast.Call):
        return _last_name(value) in _WORDING | _CONSUMING
    return isinstance(value, _DISPLAYS + _COMPREHENSIONS)


def _pure_functions(tree: ast.Module) -> frozenset[str]:
    """Names of private functions and methods that give a value and do nothing else."""
    functions: dict[str, list[ast.FunctionDef]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("_") and not node.decorator_list:
            functions.setdefault(node.name, []).append(node)
    pure = frozenset(functions)
    while True:
        kept = frozenset(name for name in pure if all(_does_nothing(function, pure) for function in functions[name]))
        if kept == pure:
            return pure
        pure = kept


def _does_nothing(function: ast.FunctionDef, pure: frozenset[str]) -> bool:
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
            return False
        if isinstance(node, ast.Global | ast.Nonlocal | ast.With | ast.Raise | ast.Import | ast.ImportFrom):
            return False
    return all(_only_words(node, pure) for node in ast.walk(function) if isinstance(node, ast.expr))


def identifiers(tree: ast.AST) -> dict[str, int]:
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


def unused_functions(tree: ast.Module, everywhere: Mapping[str, int]) -> frozenset[ast.FunctionDef]:
    """Private functions and methods of a module that nothing uses.

    Args:
        tree: of the module.
        everywhere: how often each identifier is used in all modules that count.
    """
    functions, looks_names_up = _private_functions(tree)
    unused: dict[ast.FunctionDef, None] = {}
    if looks_names_up:
        return frozenset()
    counts = dict(everywhere)
    found = True
    while found:
        found = False
        for function, own in functions:
            if function not in unused and counts.get(function.name, 0) == own.get(function.name, 0):
                unused[function] = None
                for name, count in own.items():
                    counts[name] -= count
                found = True
    return frozenset(unused)


@lru_cache(maxsize=1024)
def _private_functions(tree: ast.Module) -> tuple[list[tuple[ast.FunctionDef, dict[str, int]]], bool]:
    """Those that may be left out where nothing uses them, with what they use; and whether names are looked up."""

    def definitions(body: list[ast.stmt]) -> Iterator[ast.FunctionDef]:
        for statement in body:
            if isinstance(statement, ast.FunctionDef):
                private = statement.name.startswith("_") and not statement.name.endswith("__")
                if private and not statement.decorator_list:
                    yield statement
            elif isinstance(statement, ast.ClassDef) and not _has_demanding_base(statement):
                yield from definitions(statement.body)  # a base may call private methods of the others

    return [(function, identifiers(function)) for function in definitions(tree.body)], _looks_names_up(tree)


def without(body: list[ast.stmt], unused: frozenset[ast.FunctionDef]) -> list[ast.stmt]:
    """The statements of a module without some of its functions and methods."""
    statements: list[ast.stmt] = []
    for statement in body:
        if statement in unused:
            continue
        if isinstance(statement, ast.ClassDef):
            parts = {field: getattr(statement, field) for field in statement._fields}
            statement = ast.ClassDef(**(parts | {"body": without(statement.body, unused)}))
        statements.append(statement)
    return statements


def _looks_names_up(tree: ast.Module) -> bool:
    """Whether private functions may be called by names that are put together."""
    calls = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    if calls & {"eval", "exec"}:
        return True
    parts = [node.values[0] for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) and node.values]
    parts += [node.left for node in ast.walk(tree) if isinstance(node, ast.BinOp)]
    begun = any(isinstance(part, ast.Constant) and re.fullmatch(r"_\w*", str(part.value)) for part in parts)
    return begun and bool(calls & {"getattr", "globals", "locals", "vars"})


def tree_text(node: object) -> str:
    """A tree as a text that is the same under all versions of Python: no positions, no empty fields, no contexts."""
    if isinstance(node, list):
        return "[" + ",".join(tree_text(one) for one in node) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = (
        f"{field}={tree_text(value)}"
        for field in node._fields
        if field not in ("ctx", "type_comment", "kind", "type_params")
        and (value := getattr(node, field, None)) is not None
        and value != []
    )
    value = "None" if isinstance(node, ast.Constant) and node.value is None else ""
    return f"{type(node).__name__}({value}{';'.join(fields)})"
