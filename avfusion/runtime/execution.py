"""Map a function over tracks or videos: one after another, in worker processes, or on a Ray cluster.

All three give equal results in equal order. A task with a time limit always runs in a separate process, so that its
hang or crash costs only that task. Functions and payloads must be picklable (`avfusion.runtime.workers`). Numeric
libraries get one thread in each worker; a task whose arithmetic depends on torch's thread count sets it, so that it is
the same under every executor.
"""

from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any, Generic, Literal, TypeVar

from avfusion.runtime.errors import AVFusionError, describe_exception
from avfusion.runtime.extras import require_extra
from avfusion.runtime.progress import PLAIN_SECONDS, TaskProgress
from avfusion.runtime.workers import THREAD_VARIABLES, Reply, Worker, WorkerError, attempt

T = TypeVar("T")
R = TypeVar("R")
Executor = Literal["serial", "processes", "ray"]

SHOWN_FAILURES = 5  # in an error; the list before it has all
SKIP_HINT = "repair them, or set common.on_error: skip to go on without them"


@dataclass(frozen=True)
class Outcome(Generic[R]):
    """Outcome of one task: its value, or the text of its error (then `value` is None)."""

    key: str
    value: R | None
    error: str | None


@dataclass(frozen=True)
class _Task:
    payload: Any
    limit_s: float | None
    weight: float


def run_tasks(
    function: Callable[[T], R],
    tasks: Sequence[tuple[str, T]],
    *,
    executor: Executor = "serial",
    workers: int = 1,
    label: str = "tasks",
    on_error: Literal["fail", "skip"] = "fail",
    limits_s: Mapping[str, float] | None = None,
    weights: Mapping[str, float] | None = None,
    gpus: int = 0,
) -> list[Outcome[R]]:
    """Call `function(payload)` for every `(key, payload)`; return the outcomes in the order of the tasks.

    If a task raises, takes too long, or loses its worker process, its reason is recorded and the others continue.

    Args:
        workers: Number of tasks at a time, except for "serial".
        label: Description of the tasks for people. on_error: Whether failures are raised.
        limits_s: Time limit in seconds by key. With any limit, no task runs in this process.
        weights: Relative amount of work by key, for the estimate of the time left.
        gpus: Number of GPUs of this machine, shared evenly by the workers: each sees a single one. Ray uses those of
            its cluster. 0: tasks need none; "serial" sees all.

    Raises:
        AVFusionError: `on_error` is "fail" and tasks failed (after all have run).
        MissingExtraError: the executor is "ray" and Ray is not installed.
    """
    if executor == "serial" and limits_s:
        executor, workers = "processes", 1
    attempts = {"serial": _serial, "processes": _processes, "ray": _ray}[executor]
    limits_s, weights = limits_s or {}, weights or {}
    jobs = [_Task(payload, limits_s.get(key), weights.get(key, 1.0)) for key, payload in tasks]
    replies: dict[int, Reply] = {}
    with (
        TaskProgress(label, [job.weight for job in jobs]) as progress,
        closing(
            attempts(function, jobs, workers, gpus, progress)
        ) as found,  # closed on an interruption, so that no worker outlives it
    ):
        for index, reply in found:
            replies[index] = reply
            progress.advance(jobs[index].weight, failed=reply.error is not None)
    outcomes = []
    for index, (key, _) in enumerate(tasks):
        value, error = replies[index]
        outcomes.append(Outcome(key, value, None if error is None else str(error)))
    if on_error == "fail":
        failures = {outcome.key: outcome.error for outcome in outcomes if outcome.error is not None}
        list_failures(failures)
        raise_failures(label, failures, len(tasks))
    return outcomes


def list_failures(failures: Mapping[str, str]) -> None:
    """Print every failed task with its reason, one per line."""
    for key, reason in failures.items():
        print(f"  {key}: {reason}", flush=True)


def raise_failures(
    label: str, failures: Mapping[str, str], total: int, *, hint: str = "", error: type[AVFusionError] = AVFusionError
) -> None:
    """Raise one error for all failed tasks, if any; it names the first, since the caller has listed all.

    Args:
        error: BadInputError if the user's files are at fault.
    """
    if failures:
        reasons = [f"{key}: {reason}" for key, reason in failures.items()]
        more = len(reasons) - SHOWN_FAILURES
        shown = "; ".join(reasons[:SHOWN_FAILURES]) + (f"; and {more} more, listed above" if more > 0 else "")
        raised = error(f"{label}: {len(failures)} of {total} failed: {shown}" + (f": {hint}" if hint else ""))
        raised.failures = dict(failures)
        raise raised


Replies = Generator[tuple[int, Reply], None, None]


def _serial(
    function: Callable[[Any], Any], tasks: list[_Task], workers: int, gpus: int, progress: TaskProgress
) -> Replies:
    for index, task in enumerate(tasks):
        yield index, attempt(function, task.payload)


def _processes(
    function: Callable[[Any], Any], tasks: list[_Task], workers: int, gpus: int, progress: TaskProgress
) -> Replies:
    """One pipe and one task at a time per worker, so that a death is attributed to one task and costs only that."""
    waiting = deque(range(len(tasks)))
    busy: dict[Worker, int] = {}

    def start() -> Worker:
        used = [worker.gpu for worker in busy]
        return Worker(threads=1, gpu=min(range(gpus), key=used.count, default=None))

    def give_next(worker: Worker) -> None:
        index = busy[worker] = waiting.popleft()
        worker.give(function, tasks[index].payload, limit_s=tasks[index].limit_s)

    try:
        while waiting or busy:
            while waiting and len(busy) < workers:
                give_next(start())
            left_s = [worker.left_s for worker in busy]
            wait([worker.fileno() for worker in busy], min([PLAIN_SECONDS, *(s for s in left_s if s is not None)]))
            for worker in list(busy):
                reply = worker.poll()
                if reply is None:
                    continue
                index = busy.pop(worker)
                if waiting and worker.usable:
                    give_next(worker)
                else:
                    worker.stop()
                yield index, reply
            progress.tick()
    finally:
        for worker in busy:
            worker.stop()


def _ray(
    function: Callable[[Any], Any], tasks: list[_Task], workers: int, gpus: int, progress: TaskProgress
) -> Replies:
    """One Ray task per payload, at most `workers` at a time, on the cluster of RAY_ADDRESS or on a local one."""
    require_extra("ray")
    import ray

    started = not ray.is_initialized()
    if started:
        variables = dict.fromkeys(THREAD_VARIABLES, "1")
        ray.init(include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": variables})
    # A task sees the GPU of its share, and none without a share.
    share = min(1.0, ray.cluster_resources().get("GPU", 0) / workers) if gpus else 0
    remote = ray.remote(num_cpus=1, num_gpus=share, max_retries=2)(_attempt_within)  # retried if its node dies
    waiting = deque(enumerate(tasks))
    running: dict[Any, int] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                index, task = waiting.popleft()
                running[remote.remote(function, task.payload, task.limit_s)] = index
            finished, _ = ray.wait(list(running), num_returns=1, timeout=PLAIN_SECONDS)
            for reference in finished:
                try:
                    reply = ray.get(reference)
                except ray.exceptions.RayError as failure:
                    reply = Reply(None, WorkerError(f"its Ray task died: {describe_exception(failure)}"))
                yield running.pop(reference), reply
            progress.tick()
    finally:
        if started:
            ray.shutdown()


def _attempt_within(function: Callable[[Any], Any], payload: Any, limit_s: float | None) -> Reply:
    """A Ray task; with a limit in a process below Ray's, since Ray retries tasks that crash its own.

    The limit counts from the task's start, not from the wait for a free node.
    """
    return attempt(function, payload) if limit_s is None else attempt(_call_apart, function, payload, limit_s)


def _call_apart(function: Callable[[Any], Any], payload: Any, limit_s: float) -> Any:
    worker = Worker(threads=1)
    try:
        return worker.call(function, payload, limit_s=limit_s)
    finally:
        worker.stop()
