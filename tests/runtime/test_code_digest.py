"""Digests of code: what cannot change a number changes none, whatever can does."""

import ast
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from avfusion.runtime.code_digest import code_digest, existing_file, import_closure
from avfusion.runtime.code_trees import identifiers, numeric_tree, tree_text, unused_functions, without

BASE = '''
"""What it is for."""

import math

import numpy as np

from avfusion.runtime.errors import BadInputError

LIMIT = 3


def mean(values, weight=1.0, *, power=2):
    """The mean."""
    warnings = []
    if len(values) > LIMIT:
        raise BadInputError(f"{len(values)} values: at most {LIMIT}")
    total = 0.0
    for value in values:
        total += weight * math.pow(value, power)
    if total < 0:
        warnings.append("below zero")
    scaled = np.float32(total) / len(values)
    print(f"mean: {scaled}")
    return scaled


def _refusal(name):
    return BadInputError(f"{name} cannot be used")


def choose(name):
    if name != "mean":
        raise _refusal(name)
    return mean
'''

HARMLESS = {
    "docstring of the module": ("What it is for.", "What it does."),
    "docstring of a function": ('"""The mean."""', '"""The weighted mean of powers."""'),
    "no docstring": ('    """The mean."""\n', ""),
    "comment": ("LIMIT = 3", "LIMIT = 3  # of values"),
    "layout": (
        "weight * math.pow(value, power)",
        "(\n            weight\n            * math.pow(value, power)\n        )",
    ),
    "annotations": (
        "def mean(values, weight=1.0, *, power=2):",
        "def mean(values: list[float], weight: float = 1.0, *, power: int = 2) -> np.float32:",
    ),
    "annotation of a variable": ("total = 0.0", "total: float = 0.0"),
    "text of an error": ("values: at most {LIMIT}", "values are too many: {LIMIT} are allowed"),
    "chained error": ('at most {LIMIT}")', 'at most {LIMIT}") from None'),
    "text that an error is made of": (
        '        raise BadInputError(f"{len(values)} values: at most {LIMIT}")',
        '        many = ", ".join(map(str, [len(values), LIMIT]))\n        raise BadInputError(f"{many} are too many")',
    ),
    "text of a warning": ('"below zero"', 'f"{total} is below zero"'),
    "text of a progress line": ('f"mean: {scaled}"', 'f"the mean is {scaled}", flush=True'),
    "no progress line": ('    print(f"mean: {scaled}")\n', ""),
    "helper that builds an error": ("{name} cannot be used", "no function {name}"),
    "order of imports": (
        "import math\n\nimport numpy as np\n\nfrom avfusion.runtime.errors import BadInputError\n",
        "from avfusion.runtime.errors import BadInputError\nimport numpy as np\nimport math\n",
    ),
    "import for annotations": ("import math\n", "import math\nfrom collections.abc import Sequence\n"),
    "block for type checkers": (
        "LIMIT = 3\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pathlib import Path\n\nLIMIT = 3\n",
    ),
    "names for star imports": ("LIMIT = 3", 'LIMIT = 3\n__all__ = ["mean"]'),
}

TELLING = {
    "number": ("LIMIT = 3", "LIMIT = 4"),
    "kind of a number": ("total = 0.0", "total = 0"),
    "truth": ("LIMIT = 3", "LIMIT = True"),
    "operator": ("weight * math", "weight + math"),
    "comparison": ("> LIMIT", ">= LIMIT"),
    "default": ("weight=1.0", "weight=0.5"),
    "keyword default": ("power=2", "power=3"),
    "order of statements": (
        "    total = 0.0\n    for value in values:",
        "    for value in values:\n        total = 0.0",
    ),
    "function of a library": ("math.pow", "np.power"),
    "library of a function": ("import numpy as np", "import cupy as np"),
    "kind of an array": ("np.float32", "np.float64"),
    "which error": ("raise BadInputError(f", "raise ValueError(f"),
    "condition of an error": (
        "        raise BadInputError",
        "        pass\n    if not values:\n        raise BadInputError",
    ),
    "condition of a warning": ("total < 0", "total <= 0"),
    "another warning": ('    print(f"mean', '    warnings.append("seen")\n    print(f"mean'),
    "returned value": ("return scaled", "return -scaled"),
    "import inside a function": (
        '    """The mean."""\n',
        '    """The mean."""\n    from cmath import pow\n    pow(1, 2)\n',
    ),
    "import for its effect": ("import math\n", "import math\nimport json\n"),
    "decorator": ("def mean(", "@np.vectorize\ndef mean("),
    "assertion": ("    total = 0.0\n", "    assert values\n    total = 0.0\n"),
}


def text(source: str, *, ours: bool = True) -> str:
    """The part of a module's code that counts, beside its imports."""
    tree = numeric_tree(ast.parse(dedent(source)), "avfusion.fusion", ours=ours)
    return tree_text(without(tree.body, unused_functions(tree, identifiers(tree))))


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Writes modules of a package of its own, by path and source; gives digests of modules."""
    monkeypatch.syspath_prepend(str(tmp_path))
    existing_file.cache_clear()

    def write(**sources: str) -> Path:
        for name, source in sources.items():
            path = tmp_path / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(source))
        existing_file.cache_clear()
        return tmp_path

    yield write
    existing_file.cache_clear()


@pytest.mark.parametrize("name", HARMLESS)
def test_what_changes_no_number_changes_no_digest(name, package):
    old, new = HARMLESS[name]
    assert old in BASE
    package(outside__a=BASE)
    before = code_digest(["outside.a"])
    package(outside__a=BASE.replace(old, new, 1))
    assert code_digest(["outside.a"]) == before


@pytest.mark.parametrize("name", TELLING)
def test_what_may_change_a_number_changes_the_digest(name, package):
    old, new = TELLING[name]
    assert old in BASE
    package(outside__a=BASE)
    before = code_digest(["outside.a"])
    package(outside__a=BASE.replace(old, new, 1))
    assert code_digest(["outside.a"]) != before


PAIRS = {  # two sources that give other numbers, however alike they look
    "print to a file": ("print(1, file=out)", "print(2, file=out)"),
    "effect in a message": ("print(next(rows))", "pass"),
    "elements that a message takes": ("print(list(steps))", "pass"),
    "elements that a joined text takes": ("print(', '.join(str(step) for step in steps))", "pass"),
    "elements that a message takes by a function": ("print(list(map(take, [1])))", "pass"),
    "effect in a warning": ("warnings.append(rows.pop())", "warnings.append(rows[0])"),
    "warnings as errors": ("warnings.simplefilter('error')", "warnings.simplefilter('ignore')"),
    "assignment in a message": ("print(k := 3)", "print(k := 4)"),
    "helper of a message with an effect": (
        "def _say_it(x):\n    x.value = 1\n    return x\nprint(_say_it(y))",
        "def _say_it(x):\n    x.value = 2\n    return x\nprint(_say_it(y))",
    ),
    "list that is not read": ("def f(xs):\n    _ = list(map(g, xs))", "def f(xs):\n    _ = list(map(h, xs))"),
    "text for another function": (
        "def f():\n    global mode\n    mode = 'tile'",
        "def f():\n    global mode\n    mode = 'overlap'",
    ),
    "text for the function around": (
        "def f():\n    mode = ''\n    def g():\n        nonlocal mode\n        mode = 'tile'\n    g()\n    return mode",
        "def f():\n    mode = ''\n    def g():\n        nonlocal mode\n        mode = 'x'\n    g()\n    return mode",
    ),
    "attribute of a class": ("class A:\n    kind = 'mean'", "class A:\n    kind = 'max'"),
    "attribute of a local class": (
        "def f():\n    class A:\n        kind = 'mean'\n    return A",
        "def f():\n    class A:\n        kind = 'max'\n    return A",
    ),
    "value that an exception carries": ("raise Found(x)", "raise Found(y)"),
    "value that a library's error carries": ("raise study.PrunedError(x)", "raise study.PrunedError(y)"),
    "value that ends an iterator": ("raise StopIteration(x)", "raise StopIteration(y)"),
    "class whose name ends as an error's": (
        "m = MeanSquaredError(squared=True)",
        "m = MeanSquaredError(squared=False)",
    ),
    "type that converts": ("class A(BaseModel):\n    k: int = 1", "class A(BaseModel):\n    k: float = 1"),
    "field that is no field": (
        "@dataclass\nclass A:\n    k: int = 1",
        "@dataclass\nclass A:\n    k: ClassVar[int] = 1",
    ),
    "field without a value": ("@dataclass\nclass A:\n    k: int", "@dataclass\nclass A:\n    k: int = None"),
    "type that chooses": ("@f.register\ndef _(x: int): pass", "@f.register\ndef _(x: float): pass"),
    "method that a base calls": (
        "class A(Module):\n    def _apply(self): return 1",
        "class A(Module):\n    def _apply(self): return 2",
    ),
    "function that is looked up": (
        "def _make_a(): return 1\nf = globals()[f'_make_{x}']",
        "def _make_a(): return 2\nf = globals()[f'_make_{x}']",
    ),
    "import by condition": (
        "if fast:\n    from a import f\nelse:\n    from b import f\nf()",
        "if fast:\n    from b import f\nelse:\n    from a import f\nf()",
    ),
    "import of a function": (
        "def f():\n    from a import g\n    return g()\ndef h():\n    from b import g\n    return g()",
        "def f():\n    from b import g\n    return g()\ndef h():\n    from a import g\n    return g()",
    ),
    "slice": ("x[1:]", "x[:1]"),
    "number and truth": ("x = 1", "x = True"),
    "number and text": ("x = 1", "x = '1'"),
}


@pytest.mark.parametrize("ours", [True, False], ids=["ours", "others"])
@pytest.mark.parametrize("name", PAIRS)
def test_other_numbers_have_another_digest(name, ours):
    one, other = PAIRS[name]
    assert text(one, ours=ours) != text(other, ours=ours)


ALIKE = {
    "helper of a progress line": (
        "def _line(x):\n    return f'loss {x:.3f}'\ndef f(x):\n    self._say(_line(x))\n    return x",
        "def _line(x):\n    return f'{x:.4f} is the loss'\ndef f(x):\n    self._say(_line(x))\n    return x",
    ),
    "log call": ("def f():\n    logger.info('%s', x)\n    return 1", "def f():\n    return 1"),
    "metrics of a run": (
        "def f(run):\n    run.log_metrics(metrics, step=1)",
        "def f(run):\n    run.log_metrics({}, step=2)",
    ),
    "error that is kept": ("e = ValueError('no')", "e = ValueError('not at all')"),
    "warning's words": ("def f(w):\n    warnings.append('a')", "def f(w):\n    warnings.append('b')"),
}


@pytest.mark.parametrize("name", ALIKE)
def test_words_of_this_package_do_not_count(name):
    one, other = ALIKE[name]
    assert text(one) == text(other)


def test_methods_of_others_may_do_anything():
    """`say` or `info` of a model from outside need not be what they are here."""
    assert text("self.say(1)", ours=False) != text("self.say(2)", ours=False)
    assert text("run.log_metrics(a)", ours=False) != text("run.log_metrics(b)", ours=False)
    assert text("logging.info(1)", ours=False) == text("logging.info(2)", ours=False)


def test_the_message_of_an_assertion_does_not_count():
    assert text("assert x, 'one'") == text("assert x, f'{x}'") == text("assert x")


def test_what_is_called_in_another_module_counts(package):
    package(outside__a="from outside.b import f\nprint(f(1))\ny = f(1)", outside__b="def f(x):\n    return x + 1")
    before = code_digest(["outside.a"])
    assert set(import_closure(["outside.a"])) == {"outside.a", "outside.b"}
    package(outside__b="def f(x):\n    return x + 2")
    changed = code_digest(["outside.a"])
    assert changed != before
    assert code_digest(["outside.a"], ["outside.b"]) not in (before, changed)
    package(outside__b="def f(x):\n    '''Two more.'''\n    return x + 2")
    assert code_digest(["outside.a"]) == changed


@pytest.mark.parametrize(
    "source",
    [
        "from .b import f\ny = f(1)",
        "from . import b\ny = b.f(1)",
        "import outside.b\ny = outside.b.f(1)",
        "import outside.b as other\ny = other.f(1)",
        "from outside.b import *\ny = f(1)",
        "def g():\n    from .b import f\n    return f(1)",
        "def g():\n    return import_module('outside.b').f(1)",
        "try:\n    from .b import f\nexcept ImportError:\n    f = None\ny = f",
        "import beside\ny = beside.f(1)",
    ],
)
def test_every_way_to_import_a_module_is_followed(source, package):
    package(outside__a=source, outside__b="def f(x):\n    return x + 1", beside="from outside.b import f as g\nf = g")
    assert "outside.b" in import_closure(["outside.a"])


def test_packages_with_and_without_an_init(package):
    folder = package(outside__a="from outside.sub.b import f\ny = f(1)", outside__sub__b="def f(x): return x")
    assert not list(folder.rglob("__init__.py"))
    assert set(import_closure(["outside.a"])) == {"outside.a", "outside.sub.b"}
    (folder / "outside" / "__init__.py").write_text("import random\nrandom.seed(0)\n")
    existing_file.cache_clear()
    assert set(import_closure(["outside.a"])) == {"outside", "outside.a", "outside.sub.b"}


def test_a_model_from_outside_reaches_into_this_package(package):
    package(outside="from avfusion.fusion.correlation import CrossCorrelation\nk = CrossCorrelation")
    found = import_closure(["outside"])
    assert "avfusion.fusion.correlation" in found
    assert not any(name.partition(".")[0] not in ("outside", "avfusion") for name in found)


def test_installed_packages_are_not_followed(package):
    package(outside="import numpy\nimport yaml\ny = numpy.ones(3), yaml")
    assert set(import_closure(["outside"])) == {"outside"}


def test_unknown_modules_are_named(package):
    package(outside="x = 1")
    with pytest.raises(ModuleNotFoundError, match="there is no module outside_gone"):
        code_digest(["outside", "outside_gone"])


def test_nothing_is_executed(package):
    package(outside="raise SystemExit(3)")
    assert len(code_digest(["outside"])) == 32
    assert "outside" not in sys.modules
