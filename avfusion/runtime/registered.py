"""Classes that a decorator registers, read from their source files: nothing is imported and no torch is paid for.

`@register_fusion("jca")` above a class makes it known by that name. Its options are the keyword arguments of its
`__init__`, with their types, bounds and defaults; facts about it are class attributes. A class outside this package is
named `package.module:Class`, or by an entry point.
"""

import ast
import operator
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import Any

from avfusion.runtime.code_digest import module_file
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.runtime.options import ALLOWED_TYPES, TYPES, Option

# What the value of a fact or default, or an annotation, may consist of: nothing that runs code.
_PLAIN = (
    *(ast.Constant, ast.Name, ast.Load, ast.Tuple, ast.List, ast.Dict, ast.Subscript, ast.Call, ast.keyword),
    *(ast.UnaryOp, ast.USub, ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.Starred),
)
_LARGEST_INTEGER, _LARGEST_EXPONENT, _LONGEST = 2**64, 64, 1000  # operands of what is computed


@dataclass(frozen=True)
class Registered:
    """A registered class.

    Attributes:
        name: by which it is asked for.
        module: that defines it.
        class_name: in that module.
        given: keyword arguments of its decorator.
    """

    name: str
    module: str
    class_name: str
    given: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def arguments(self) -> Mapping[str, Option]:
        """Keyword arguments of `__init__`, in their order.

        Raises:
            BadInputError: the class cannot be found, or an argument has no type or default, or one that is not
                understood.
        """
        return {
            key: _option(f"option {key}", annotation, default, source)
            for key, annotation, default, source in self._signature()
        }

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """Class attributes with plain values, inherited ones too.

        Raises:
            BadInputError: the class cannot be found.
        """
        found: dict[str, Any] = {}
        for source, node in self._classes():
            for target, value in _assignments(node.body).items():
                if target not in found and (known := _value(value, source)) is not None:
                    found[target] = known[0]
        return found

    def load(self) -> type:
        """Import the class.

        Raises:
            BadInputError: it is outside this package, and its module cannot be imported or does not define it.
        """
        if not self.is_outside:
            own: type = getattr(import_module(self.module), self.class_name)
            return own
        try:
            module = import_module(self.module)
        except (Exception, SystemExit) as error:  # whatever a stranger's module raises
            raise BadInputError(_import_fault(self.module, error)) from None
        found = getattr(module, self.class_name, None)
        if not isinstance(found, type):
            raise BadInputError(f"{self.module} has no class {self.class_name}")
        return found

    @property
    def is_outside(self) -> bool:
        """Whether the class is not of this package."""
        return not self.module.startswith("avfusion.")

    def build(self, who: str, **arguments: Any) -> Any:
        """An instance of the class.

        Raises:
            BadInputError: the class is outside this package, and its `__init__` raised something.
        """
        made = self.load()
        try:
            return made(**arguments)
        except AVFusionError:
            raise
        except (Exception, SystemExit) as error:
            if not self.is_outside:
                raise
            raise BadInputError(f"{who} cannot be built: {fault_of(error)}") from None

    def _classes(self) -> list[tuple["_Source", ast.ClassDef]]:
        """The class, then its bases as far as their sources can be read."""
        first = _find_class(self.module, self.class_name)
        if first is None:
            raise BadInputError(f"{self.module} has no class {self.class_name}")
        found = {(first[0].module, first[1].name): first}
        waiting = [first]
        for source, node in waiting:  # which grows meanwhile
            for base in node.bases:
                if isinstance(base, ast.Name) and (above := _find_class(source.module, base.id, below=node.name)):
                    key = (above[0].module, above[1].name)
                    if key not in found:
                        found[key] = above
                        waiting.append(above)
        return waiting

    def _signature(self) -> Iterator[tuple[str, ast.expr | None, ast.expr | None, "_Source"]]:
        for source, node in self._classes():
            for function in node.body:
                if isinstance(function, ast.FunctionDef) and function.name == "__init__":
                    arguments = function.args
                    loose = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)][1:]
                    loose += [f"*{argument.arg}" for argument in (arguments.vararg, arguments.kwarg) if argument]
                    if loose:
                        raise BadInputError(
                            f"__init__ of {node.name} takes {', '.join(loose)}: "
                            "all arguments must be keyword arguments with a name (after `*`)"
                        )
                    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
                        yield argument.arg, argument.annotation, default, source
                    return


def registered_classes(package: str, decorator: str) -> dict[str, Registered]:
    """The classes in the modules of a package that `decorator` registers, by name: files in order, then lines."""
    folder = module_file(package)
    assert folder is not None, package
    found = {}
    for path in sorted(folder.parent.glob("*.py")):
        for entry in _registered_in(f"{package}.{path.stem}", decorator):
            found[entry.name] = entry
    return found


def find_registered(name: str, known: Mapping[str, Registered], group: str, decorator: str) -> Registered:
    """The class of a name: a registered one of this package, `package.module:Class`, or an entry point.

    Raises:
        BadInputError: there is none; the message says what is allowed.
    """
    if name in known:
        return known[name]
    if ":" not in name:
        target = entry_point_classes(group).get(name)
        if target is None:
            names = (*known, *entry_point_classes(group))
            raise BadInputError(f"must be one of {', '.join(names)}, or package.module:Class")
    else:
        target = name
    return _outside(name, target, decorator)


@cache
def entry_point_classes(group: str) -> dict[str, str]:
    """What installed packages publish in an entry-point group: `package.module:Class` by name."""
    return {entry.name: entry.value for entry in sorted(entry_points(group=group))}


def _outside(name: str, target: str, decorator: str) -> Registered:
    module, _, class_name = target.partition(":")
    if not (class_name.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise BadInputError(f"{target!r} is not of the form package.module:Class")
    if _source(module) is None:
        raise BadInputError(_import_fault(module, _missing(module)))
    decorated = [entry for entry in _registered_in(module, decorator) if entry.class_name == class_name]
    return Registered(name, module, class_name, decorated[0].given if decorated else {})


def _missing(module: str) -> Exception:
    top = module.partition(".")[0]
    return ModuleNotFoundError(f"No module named {(module if find_spec(top) else top)!r}")


def fault_of(error: BaseException) -> str:
    """Type and text of an exception in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}".removesuffix(": ")


def _import_fault(module: str, error: BaseException) -> str:
    cure = ""
    if isinstance(error, ModuleNotFoundError):
        cure = "; a module must lie in the project's folder, on PYTHONPATH, or be installed"
    return f"{module} does not import: {fault_of(error)}{cure}"


@dataclass(frozen=True)
class _Source:
    """A module's source: what it assigns, defines and imports at its top."""

    module: str
    package: str  # that relative imports start from
    tree: ast.Module

    @cached_property
    def assigned(self) -> dict[str, ast.expr]:
        return _assignments(self.tree.body)

    @cached_property
    def classes(self) -> dict[str, ast.ClassDef]:
        return {node.name: node for node in self.tree.body if isinstance(node, ast.ClassDef)}

    @cached_property
    def imported(self) -> dict[str, tuple[str, str]]:
        """(module, its name there) by the name here."""
        return {
            alias.asname or alias.name: (resolve_name("." * node.level + (node.module or ""), self.package), alias.name)
            for node in self.tree.body
            if isinstance(node, ast.ImportFrom) and node.level <= len(self.package.split(".") if self.package else ())
            for alias in node.names
        }


def _source(module: str) -> _Source | None:
    path = module_file(module)
    if path is None:
        return None
    try:
        status = path.stat()
        return _parsed(module, path, status.st_mtime_ns, status.st_size)
    except (SyntaxError, OSError, ValueError) as error:
        raise BadInputError(_import_fault(module, error)) from None


@lru_cache(maxsize=256)
def _parsed(module: str, path: Path, changed_ns: int, size: int) -> _Source:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return _Source(module, package, ast.parse(path.read_text(encoding="utf-8"), filename=path.name))


def _find_class(module: str, name: str, below: str = "") -> tuple[_Source, ast.ClassDef] | None:
    """The class that a name stands for in a module, or among the bases of its class `below`."""
    seen = set()
    while (module, name) not in seen and (source := _source(module)):
        seen.add((module, name))
        if name in source.classes and name != below:
            return source, source.classes[name]
        if name not in source.imported:
            return None
        (module, name), below = source.imported[name], ""
    return None


def _registered_in(module: str, decorator: str) -> Iterator[Registered]:
    source = _source(module)
    assert source is not None, module
    for node in source.classes.values():
        for call in node.decorator_list:
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == decorator:
                name, given = _decorator_arguments(call, source, f"{module}: @{decorator} above class {node.name}")
                yield Registered(name, module, node.name, given)


def _decorator_arguments(call: ast.Call, source: _Source, who: str) -> tuple[str, dict[str, Any]]:
    given: dict[str, Any] = {}
    pairs = [
        *(("name", argument) for argument in call.args[:1]),
        *((entry.arg, entry.value) for entry in call.keywords),
    ]
    for key, expression in pairs:
        value = _value(expression, source)
        if key is None or (value is None and key != "name"):
            raise BadInputError(f"{who}: {key or 'each argument'} must be a plain value")
        given[key] = value[0] if value else None
    name = given.pop("name", None)
    if not isinstance(name, str):
        raise BadInputError(f"{who}: the first argument, its name, must be a plain text")
    return name, given


def _assignments(body: list[ast.stmt]) -> dict[str, ast.expr]:
    found = {}
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            found[node.target.id] = node.value
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = node.value
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple):
            values = node.value.elts if isinstance(node.value, ast.Tuple) else []
            found |= {t.id: v for t, v in zip(node.targets[0].elts, values, strict=False) if isinstance(t, ast.Name)}
    return found


def _option(who: str, annotation: ast.expr | None, default: ast.expr | None, source: _Source) -> Option:
    if annotation is None:
        raise BadInputError(f"{who} has no type: must be {ALLOWED_TYPES}")
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    value = None if default is None else _value(default, source)
    if value is None:
        raise BadInputError(f"{who} needs a default that is a plain value")
    kind = _value(annotation, source)
    try:
        if kind is None:
            raise TypeError
        option = Option.of(kind[0], value[0])
    except TypeError:
        text = ast.unparse(annotation)
        raise BadInputError(f"{who} is of type {text}, which is not understood: must be {ALLOWED_TYPES}") from None
    if wrong := option.fault(value[0]):
        raise BadInputError(f"{who} has the default {value[0]!r}: {wrong}")
    return option


class _Names(dict[str, Any]):
    """Names of types, and what a module assigns from plain values."""

    def __init__(self, source: _Source) -> None:
        super().__init__(TYPES | _ARITHMETIC)
        self._source = source

    def __missing__(self, name: str) -> Any:
        if name in self._source.assigned:
            value = _value(self._source.assigned[name], self._source)
        elif name in self._source.imported:
            module, there = self._source.imported[name]
            other = _source(module)
            value = _value(other.assigned[there], other) if other and there in other.assigned else None
        else:
            value = None
        if value is None:
            raise KeyError(name)
        return value[0]


class _Bounded(ast.NodeTransformer):
    """Puts calls in the place of arithmetic, by names that no module can assign."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        function = ast.Name(f"<{type(node.op).__name__}>", ast.Load())
        return ast.fix_missing_locations(ast.copy_location(ast.Call(function, [node.left, node.right], []), node))


def _bounded(compute: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Arithmetic on small operands alone: a default such as `2 ** 10 ** 9` must not be computed."""

    def computed(left: Any, right: Any) -> Any:
        for operand in (left, right):
            number = isinstance(operand, float) or (isinstance(operand, int) and abs(operand) < _LARGEST_INTEGER)
            joined = compute is operator.add and isinstance(operand, str | tuple | list) and len(operand) < _LONGEST
            if not (number or joined):
                raise OverflowError
        if compute is operator.pow and abs(right) > _LARGEST_EXPONENT:
            raise OverflowError
        return compute(left, right)

    return computed


_ARITHMETIC = {
    "<Add>": _bounded(operator.add),
    "<Sub>": _bounded(operator.sub),
    "<Mult>": _bounded(operator.mul),
    "<Div>": _bounded(operator.truediv),
    "<Pow>": _bounded(operator.pow),
}


def _value(expression: ast.expr, source: _Source) -> tuple[Any] | None:
    """What an expression of plain values and known names is, in a tuple; None: it is another kind of expression."""
    if not all(isinstance(node, _PLAIN) for node in ast.walk(expression)):
        return None
    calls = [node.func for node in ast.walk(expression) if isinstance(node, ast.Call)]
    if not all(isinstance(function, ast.Name) and function.id in ("Ge", "Gt", "Le", "Lt") for function in calls):
        return None
    try:
        code = compile(ast.Expression(_Bounded().visit(deepcopy(expression))), source.module, "eval")
        return (eval(code, {"__builtins__": {}}, _Names(source)),)
    except Exception:
        return None
