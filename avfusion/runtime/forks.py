"""Run numeric code in a process that was forked from another.

The threads of OpenMP do not survive a fork, and a loop that waits for them never ends. Each thread that starts such
loops has helpers of its own, so a new thread of the forked process gets new ones, and the same results to the bit.
"""

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from multiprocessing import parent_process
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_LOADED_BY = os.getpid()  # the package is imported at the top of a script, before it forks


def is_forked() -> bool:
    """Whether this process has the memory of another that may have used OpenMP."""
    fresh = parent_process() is None or "--multiprocessing-fork" in sys.orig_argv  # an interpreter of its own
    return os.getpid() != _LOADED_BY or not fresh


def works_after_fork(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function run in a new thread if its process was forked, so that torch gets new helpers for its loops."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        if not is_forked():
            return function(*args, **kwargs)
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(function, *args, **kwargs).result()

    return run
