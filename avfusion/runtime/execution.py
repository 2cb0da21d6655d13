"""Map a function over tracks or videos: one after another, in worker processes, or on a Ray cluster.

The three give equal results in equal order; only where the work happens differs. A task with a time limit runs in a
process of its own under each of them, so that its hang or crash costs nothing but that task. Functions and payloads
must be picklable (`avfusion.runtime.workers`). Numeric libraries get one thread in each worker; a task whose arithmetic
depends on the thread count of torch sets that itself, so that it is the same under every executor.
"""

from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any, Generic, Literal, TypeVar

from avfusion.runtime.errors import AVFusionError, BadInputError, describe_exception
from avfusion.runtime.progress import PLAIN_SECONDS, TaskProgress
from avfusion.runtime.workers import THREAD_VARIABLES, Reply, Worker, WorkerError, attempt

T = TypeVar("T")
R = TypeVar("R")
Executor = Literal["serial", "processes", "ray"]

SHOWN_FAILURES = 5  # in an error; all of them stand in the list before it
SKIP_HINT = "mend them, or set common.on_error: skip to go on without them"


@dataclass(frozen=True)
class Outcome(Generic[R]):
    """What became of one task: its value, or the text of its error (then `value` is None)."""

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

    A task that raises, takes too long, or whose worker process dies, is recorded with the reason, and the others go on.

    Args:
        function: What to do with a payload.
        tasks: Key and payload of each task.
        executor: Where it runs.
        workers: How many tasks run at a time, but for "serial".
        label: What the tasks are, for people.
        on_error: Whether failures are raised.
        limits_s: Key to the seconds that its task may take. If there are any, no task runs in this process.
        weights: Key to how much work its task is, relative to the others; the time left is estimated by it.
        gpus: Of this machine, over which workers are spread evenly: each sees one alone, as its first. Ray spreads them
            over those of its cluster. 0: tasks need none; "serial" takes them as they are.

    Raises:
        AVFusionError: `on_error` is "fail" and tasks failed (after all have run).
        BadInputError: the executor is "ray" and Ray is not installed.
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
        ) as found,  # so that no worker outlives an interruption
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
    """Print every failed task with its reason, a line each."""
    for key, reason in failures.items():
        print(f"  {key}: {reason}", flush=True)


def raise_failures(
    label: str, failures: Mapping[str, str], total: int, *, hint: str = "", error: type[AVFusionError] = AVFusionError
) -> None:
    """Raise one error that names the first failed tasks and holds all, if there is any; the caller has listed all.

    Args:
        label: What the tasks are, for people.
        failures: Reasons by key.
        total: Of all tasks.
        hint: What to do.
        error: BadInputError where it is the user's files that cannot be used.
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
    """One pipe and one task at a time per worker: so a death is known to belong to one task, and costs only that."""
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
    # A task sees the one GPU of which it asked for a share, and without a share none.
    share = min(1.0, ray.cluster_resources().get("GPU", 0) / workers) if gpus else 0
    remote = ray.remote(num_cpus=1, num_gpus=share, max_retries=2)(_attempt_within)  # retried when its node dies
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
    """A Ray task. A limited one has a process below Ray's: Ray would try again what crashed its own.

    The limit counts from the task's beginning, not from when it began to wait for a free node.
    """
    return attempt(function, payload) if limit_s is None else attempt(_call_apart, function, payload, limit_s)


def _call_apart(function: Callable[[Any], Any], payload: Any, limit_s: float) -> Any:
    worker = Worker(threads=1)
    try:
        return worker.call(function, payload, limit_s=limit_s)
    finally:
        worker.stop()
