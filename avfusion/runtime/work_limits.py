"""Limits on what work in a worker process may cost, for input that asks for more than it is worth."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from avfusion.runtime.errors import BadInputError
from avfusion.runtime.quantities import byte_size

_STATM = Path("/proc/self/statm")
_in_worker = False


class TooCostlyError(BadInputError):
    """Work was given up, since it takes more memory or time than its input is worth."""


def work_limits_apply() -> None:
    """Let `work_limits` have an effect in this process, which is a worker and may be killed."""
    global _in_worker
    _in_worker = True


@contextmanager
def work_limits(memory_bytes: float, cpu_s: float) -> Iterator[None]:
    """Let the block take at most so many bytes of address space more than now, and so much time of the processor.

    Memory beyond that cannot be allocated; a process beyond the time is killed (SIGXCPU), since code of libraries
    cannot be interrupted. Only on Linux, and only in a worker process: other processes have other work to do.

    Raises:
        TooCostlyError: there was no memory left.
    """
    if not _in_worker or not _STATM.exists():
        yield
        return
    import resource

    kinds = resource.RLIMIT_AS, resource.RLIMIT_CPU
    before = [resource.getrlimit(kind) for kind in kinds]
    used = int(_STATM.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE"), sum(os.times()[:2])
    for kind, (soft, hard), spent, more in zip(kinds, before, used, (memory_bytes, cpu_s), strict=True):
        limit = int(spent + more)
        resource.setrlimit(kind, (limit if soft == resource.RLIM_INFINITY else min(soft, limit), hard))
    try:
        yield
    except MemoryError:
        raise TooCostlyError(f"it asks for more than {byte_size(memory_bytes)} of memory") from None
    finally:
        for kind, limits in zip(kinds, before, strict=True):
            resource.setrlimit(kind, limits)
