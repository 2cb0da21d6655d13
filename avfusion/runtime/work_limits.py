"""Limits on what work may cost, for input that asks for more than it is worth."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from avfusion.runtime.errors import BadInputError
from avfusion.runtime.quantities import byte_size

_STATM = Path("/proc/self/statm")
_SPENT = "spent_s"
_in_worker = False


class TooCostlyError(BadInputError):
    """Work was given up, since it takes more memory or time than its input is worth."""


def work_limits_apply() -> None:
    """Let `work_limits` have an effect in this process, which is a worker and may be killed."""
    global _in_worker
    _in_worker = True


@contextmanager
def memory_limit(memory_bytes: float) -> Iterator[None]:
    """Let the block take at most so many bytes of address space more than now: more cannot be allocated (on Linux).

    The limit holds for all threads of the process.

    Raises:
        TooCostlyError: there was no memory left, as MemoryError told.
    """
    if not _STATM.exists():
        yield
        return
    import resource

    used = int(_STATM.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    with _limit(resource.RLIMIT_AS, used + memory_bytes):
        try:
            yield
        except MemoryError:
            raise TooCostlyError(f"it asks for more than {byte_size(memory_bytes)} of memory") from None


@contextmanager
def work_limits(memory_bytes: float, cpu_s: float) -> Iterator[None]:
    """Let the block take at most so many bytes of memory, as `memory_limit`, and so much time of the processor.

    A process beyond the time is killed (SIGXCPU), since code of libraries cannot be interrupted. Only on Linux, and
    only in a worker process: other processes have other work to do. Of an error that leaves the block, `spent_s` tells
    how long the block took.

    Raises:
        TooCostlyError: as `memory_limit`.
    """
    begun = time.monotonic()
    try:
        if not _in_worker or not _STATM.exists():
            yield
            return
        import resource

        with _limit(resource.RLIMIT_CPU, sum(os.times()[:2]) + cpu_s), memory_limit(memory_bytes):
            yield
    except Exception as error:
        error.__dict__[_SPENT] = time.monotonic() - begun
        raise


def spent_s(error: Exception) -> float:
    """Seconds that the block of `work_limits` took which this error left; 0 of other errors."""
    return float(error.__dict__.get(_SPENT, 0))


@contextmanager
def _limit(kind: int, limit: float) -> Iterator[None]:
    """Set one of the system's limits in the block, unless a lower one is set."""
    import resource

    before = soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (int(limit) if soft == resource.RLIM_INFINITY else min(soft, int(limit)), hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)
