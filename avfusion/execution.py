"""Map a function over tracks or videos: one after another, in worker processes, or on a Ray cluster.

The three give equal results in equal order; only where the work happens differs. Worker processes start by *spawn*, so
the function and its payloads must be picklable, and the script that is run needs its `if __name__ == "__main__":`.
Numeric libraries get one thread in each worker; a task whose arithmetic depends on the thread count of torch
sets that itself, so that it is the same under every executor.
"""

import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Generic, Literal, TypeVar

from avfusion.errors import AVFusionError, BadInputError
from avfusion.progress import PLAIN_SECONDS, TaskProgress

T = TypeVar("T")
R = TypeVar("R")
Executor = Literal["serial", "processes", "ray"]

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")


@dataclass(frozen=True)
class Outcome(Generic[R]):
    """What became of one task: its value, or the text of its error (then `value` is None)."""

    key: str
    value: R | None
    error: str | None


def run_tasks(
    function: Callable[[T], R],
    tasks: Sequence[tuple[str, T]],
    *,
    executor: Executor = "serial",
    workers: int = 1,
    label: str = "tasks",
    on_error: Literal["fail", "skip"] = "fail",
) -> list[Outcome[R]]:
    """Call `function(payload)` for every `(key, payload)`; return the outcomes in the order of the tasks.

    A task that raises, or whose worker process dies, is recorded with the reason, and the others go on.

    Raises:
        AVFusionError: `on_error` is "fail" and tasks failed (all are named, after all have run).
        BadInputError: the executor is "ray" and Ray is not installed.
    """
    attempts = {"serial": _serial, "processes": _processes, "ray": _ray}[executor]
    replies: dict[int, tuple[R | None, str | None]] = {}
    with TaskProgress(label, len(tasks)) as progress:
        for index, value, error in attempts(function, [payload for _, payload in tasks], workers, progress):
            replies[index] = (value, error)
            progress.advance(failed=error is not None)
    outcomes = [Outcome(key, *replies[index]) for index, (key, _) in enumerate(tasks)]
    if on_error == "fail":
        raise_failures(label, {outcome.key: outcome.error for outcome in outcomes if outcome.error}, len(tasks))
    return outcomes


def raise_failures(label: str, failures: dict[str, str], total: int) -> None:
    """Raise one AVFusionError that names every failed task, if there is any."""
    if failures:
        reasons = "; ".join(f"{key}: {reason}" for key, reason in failures.items())
        raise AVFusionError(f"{label}: {len(failures)} of {total} failed: {reasons}")


def _attempt(function: Callable[[Any], Any], payload: Any) -> tuple[Any, str | None]:
    try:
        return function(payload), None
    except AVFusionError as error:
        return None, str(error)
    except Exception as error:  # one bad file must not cost the others their turn
        return None, describe_exception(error)


def describe_exception(error: BaseException) -> str:
    """An unexpected exception in one line: its type, text and the place it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "site-packages" not in frame.filename]  # the nearest place of our own
    place = f" (at {os.path.basename(ours[-1].filename)}:{ours[-1].lineno})" if ours else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{place}"


Replies = Iterator[tuple[int, Any, str | None]]


def _serial(function: Callable[[Any], Any], payloads: list[Any], workers: int, progress: TaskProgress) -> Replies:
    for index, payload in enumerate(payloads):
        yield index, *_attempt(function, payload)


@dataclass
class _Worker:
    process: SpawnProcess
    connection: Connection
    task: int | None = None  # index of what it works on

    @classmethod
    def start(cls) -> "_Worker":
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs,))
        with _single_threaded():
            process.start()
        theirs.close()  # so that the worker's death ends our end of the pipe
        return cls(process, ours)

    def give(self, index: int, function: Callable[[Any], Any], payload: Any) -> None:
        self.task = index
        self.connection.send((function, payload))

    def reply(self) -> tuple[Any, str | None]:
        try:
            return self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            code = self.process.exitcode or 0
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            return None, f"its worker process died ({how}): too little memory, or a crash inside a library"

    def stop(self) -> None:
        self.connection.close()
        self.process.terminate()
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _processes(function: Callable[[Any], Any], payloads: list[Any], workers: int, progress: TaskProgress) -> Replies:
    """One pipe and one task at a time per worker: so a death is known to belong to one task, and costs only that."""
    waiting = deque(enumerate(payloads))
    pool: dict[Connection, _Worker] = {}
    try:
        while waiting or pool:
            while waiting and len(pool) < workers:
                worker = _Worker.start()
                pool[worker.connection] = worker
                worker.give(*_next(waiting, function))
            for ready in wait(list(pool), timeout=PLAIN_SECONDS):
                worker = pool[ready]  # type: ignore[index]
                index, (value, error) = worker.task, worker.reply()
                if waiting and worker.process.is_alive():
                    worker.give(*_next(waiting, function))
                else:
                    del pool[worker.connection]
                    worker.stop()
                yield index, value, error  # type: ignore[misc]
            progress.tick()
    finally:
        for worker in pool.values():
            worker.stop()


def _next(waiting: "deque[tuple[int, Any]]", function: Callable[[Any], Any]) -> tuple[int, Callable[[Any], Any], Any]:
    index, payload = waiting.popleft()
    return index, function, payload


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _serve(connection: Connection) -> None:
    """A worker's life: answer tasks until the pipe ends; a killed parent ends it at once, also in a task."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            function, payload = connection.recv()
        except EOFError:
            return
        except Exception as error:
            connection.send((None, f"the task cannot be read by its worker: {describe_exception(error)}"))
            continue
        reply = _attempt(function, payload)
        try:
            connection.send(reply)
        except (BrokenPipeError, ConnectionResetError):
            return
        except Exception as error:
            connection.send((None, f"the result cannot be sent: {describe_exception(error)}"))


@contextmanager
def _single_threaded() -> Iterator[None]:
    """Set the thread variables while a worker starts: libraries read them once, when they are loaded."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _ray(function: Callable[[Any], Any], payloads: list[Any], workers: int, progress: TaskProgress) -> Replies:
    """One Ray task per payload, at most `workers` at a time, on the cluster of RAY_ADDRESS or on a local one."""
    try:
        import ray
    except ImportError:
        raise BadInputError(
            "execution.executor is ray, but Ray is not installed: `pip install 'avfusion[ray]'`, "
            "or choose serial or processes"
        ) from None
    started = not ray.is_initialized()
    if started:
        variables = dict.fromkeys(THREAD_VARIABLES, "1")
        ray.init(include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": variables})
    task = ray.remote(num_cpus=1, max_retries=2)(_attempt)  # retried when its node dies
    waiting = deque(enumerate(payloads))
    running: dict[Any, int] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                index, payload = waiting.popleft()
                running[task.remote(function, payload)] = index
            finished, _ = ray.wait(list(running), num_returns=1, timeout=PLAIN_SECONDS)
            for reference in finished:
                try:
                    value, error = ray.get(reference)
                except ray.exceptions.RayError as failure:
                    value, error = None, f"its Ray task died: {describe_exception(failure)}"
                yield running.pop(reference), value, error
            progress.tick()
    finally:
        if started:
            ray.shutdown()
