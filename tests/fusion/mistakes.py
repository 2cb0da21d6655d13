"""Deliberate mistakes in code, for tests that show that they are noticed."""

import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest


@dataclass(frozen=True)
class Mistake:
    """Lines of a method or function, changed.

    Attributes:
        owner: a class or module.
        method: of the owner; methods that call `super()` cannot be changed.
        right: a part of its source that stands there once.
        wrong: what stands there instead.
    """

    owner: Any
    method: str
    right: str
    wrong: str

    def make(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put the changed method in the place of the right one."""
        function: Callable[..., Any] = getattr(self.owner, self.method)
        source = textwrap.dedent(inspect.getsource(function))
        assert source.count(self.right) == 1, f"{self.right!r} in {source}"
        names: dict[str, Any] = {}
        exec(source.replace(self.right, self.wrong), function.__globals__, names)
        monkeypatch.setattr(self.owner, self.method, names[self.method])

    def __str__(self) -> str:
        return f"{self.right} -> {self.wrong}"
