"""Jobs of a server: waiting and running videos and their results, in memory, bounded in number and age."""

import asyncio
import errno
import logging
import os
import secrets
import shutil
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from avfusion.runtime.errors import AVFusionError, BadInputError, UnusableModelError
from avfusion.runtime.scratch import remove_folder
from avfusion.runtime.work_limits import TooCostlyError
from avfusion.runtime.workers import WorkerError
from avfusion.serving.limits import Limits
from avfusion.serving.model_process import JSON, PASSING, VIDEO, Inspection, csv_name, inspect_upload, predict_upload
from avfusion.serving.process import AsyncWorker
from avfusion.serving.refusal import RefusalError

if TYPE_CHECKING:
    from avfusion.inference.streams import People

RETRY_AFTER_S = 10
INSPECTORS = 2  # so that a file that takes its time holds up no other
UNKNOWN = "unknown job: its result expired, it was deleted, or the server was restarted since"
OURS = "the server failed on it; its log says how"
DISK_FULL = "the server's disk is full: try again later"
_FULL = os.strerror(errno.ENOSPC)
_log = logging.getLogger(__name__)


class State(StrEnum):
    """State of a job."""

    waiting = "waiting"
    running = "running"
    done = "done"
    failed = "failed"


@dataclass
class Job:
    """A video and the state of its prediction.

    Attributes:
        id: known to its owner alone.
        name: the owner's name for the video; never a path.
        frames, duration_s: number of frames and length of the video.
        people: who is predicted, as for `Predictor.analyse`.
        phase, done, total: current phase, its progress, and its total.
        status: HTTP status for `error`.
    """

    name: str
    folder: Path
    frames: int
    duration_s: float
    people: "People" = "main"
    id: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    state: State = State.waiting
    phase: str = ""
    done: int = 0
    total: int = 0
    error: str = ""
    status: int = 200
    task: "asyncio.Task[None] | None" = None

    def report(self, phase: str, done: int, total: int) -> None:
        """Record the progress."""
        self.phase, self.done, self.total = phase, done, total

    def fail(self, status: int, error: str) -> None:
        """Record a failure."""
        self.state, self.status, self.error = State.failed, status, error


class Jobs:
    """Accepts videos, works on one per worker at a time, and keeps results for a while.

    Used as an asynchronous context manager; everything happens in its event loop, so nothing needs a lock.
    """

    def __init__(
        self,
        scratch: Path,
        limits: Limits,
        workers: Sequence[AsyncWorker],
        model: Path,
        device: str,
        min_face: int | None = None,
    ) -> None:
        self.limits = limits
        self._scratch = scratch
        self._workers = workers
        self._model, self._device, self._min_face = model, device, min_face
        self._inspectors = [AsyncWorker() for _ in range(INSPECTORS)]
        self._idle_inspectors: asyncio.Queue[AsyncWorker] = asyncio.Queue()
        self._jobs: dict[str, Job] = {}  # in order of arrival
        self._queue: asyncio.Queue[Job] = asyncio.Queue()
        self._incoming = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Start the workers.

        Raises:
            AVFusionError: the model cannot be loaded.
        """
        try:
            await asyncio.gather(*(worker.start() for worker in (*self._inspectors, *self._workers)))
        except BaseException:
            self._stop_workers()
            raise
        for inspector in self._inspectors:
            self._idle_inspectors.put_nowait(inspector)
        for worker in self._workers:
            self._spawn(self._work(worker))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._stop_workers()

    def check_room(self) -> None:
        """Check that one more video may come in.

        Raises:
            RefusalError: too many videos are incoming or waiting.
        """
        if self._incoming + self.count(State.waiting) >= self.limits.waiting:
            raise RefusalError(429, f"{self.limits.waiting} videos wait already: try again later", RETRY_AFTER_S)

    @contextmanager
    def place(self) -> Iterator[Path]:
        """Provide a folder for an incoming video, removed if the upload fails.

        Raises:
            OSError: the disk is full.
        """
        folder = self._scratch / secrets.token_hex(8)
        self._incoming += 1
        try:
            folder.mkdir()
            yield folder
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            self._incoming -= 1

    async def inspect(self, folder: Path, name: str) -> Inspection:
        """Inspect the video in `folder`.

        Raises:
            RefusalError: it is not a video, or beyond the limits.
        """
        limit_s = self.limits.inspection_s
        inspector = await self._idle_inspectors.get()
        try:
            await inspector.start()
            async with asyncio.timeout(limit_s):
                return await inspector.call(inspect_upload, folder / VIDEO, self.limits.media())
        except TimeoutError:
            raise RefusalError(400, f"{name}: reading it takes more than {limit_s:g} s") from None
        except AVFusionError as error:
            raise RefusalError(*self._answer(error, folder, name)) from None
        finally:
            self._idle_inspectors.put_nowait(inspector)

    def add(self, folder: Path, name: str, inspection: Inspection, people: "People" = "main") -> Job:
        """Queue the video in `folder`."""
        job = Job(name, folder, inspection.frames, inspection.duration_s, people)
        self._jobs[job.id] = job
        self._queue.put_nowait(job)
        return job

    def find(self, job_id: str) -> Job:
        """The job with this id.

        Raises:
            RefusalError: no such job, or no longer.
        """
        if job_id not in self._jobs:
            raise RefusalError(404, UNKNOWN)
        return self._jobs[job_id]

    def remove(self, job_id: str) -> None:
        """Remove a job and its files, and end the work on it."""
        job = self._jobs.pop(job_id, None)
        if job is None:
            return
        if job.task is not None and not job.task.done():
            job.task.cancel()  # `_work` removes its files when its process has ended
        else:
            self._spawn(asyncio.to_thread(remove_folder, job.folder))

    def count(self, state: State) -> int:
        """Number of jobs in this state."""
        return sum(job.state is state for job in self._jobs.values())

    def ahead_of(self, job: Job) -> int:
        """Number of jobs that must be done, or at least begun, before this one begins."""
        waiting = [other.id for other in self._jobs.values() if other.state is State.waiting]
        return waiting.index(job.id) if job.id in waiting else 0

    async def read_result(self, job: Job, kind: str, person: int = 1) -> bytes:
        """A finished job's result as `json`, or a person's as `csv`.

        Raises:
            RefusalError: it is not finished, failed, was removed meanwhile, or has no such person.
        """
        if job.state is State.failed:
            raise RefusalError(job.status, job.error)
        if job.state is not State.done:
            raise RefusalError(409, f"the job is {job.state}: there is no result yet", 1)
        try:
            return await asyncio.to_thread((job.folder / {"json": JSON, "csv": csv_name(person)}[kind]).read_bytes)
        except FileNotFoundError:
            if (job.folder / JSON).exists():
                raise RefusalError(404, f"person is {person}: {job.name} has no such person") from None
            raise RefusalError(404, UNKNOWN) from None

    async def _work(self, worker: AsyncWorker) -> None:
        while True:
            job = await self._queue.get()
            if job.id not in self._jobs:
                continue
            job.state = State.running
            job.task = asyncio.create_task(self._predict(worker, job))
            try:
                await asyncio.wait([job.task])
            finally:
                job.task.cancel()
            if job.task.cancelled():
                await asyncio.to_thread(remove_folder, job.folder)

    async def _predict(self, worker: AsyncWorker, job: Job) -> None:
        limit_s = self.limits.job_s(job.duration_s)
        call = (predict_upload, self._model, self._device, self._min_face, job.folder, job.name, job.people)
        try:
            async with asyncio.timeout(limit_s):
                await worker.call(*call, report=job.report)
        except TimeoutError:
            job.fail(500, f"{job.name}: it took more than {limit_s:.0f} s and was given up")
        except AVFusionError as error:
            job.fail(*self._answer(error, job.folder, job.name))
        except Exception:  # a bug of ours ends the job, not the server
            _log.exception("%s", job.name)
            job.fail(500, f"{job.name}: {OURS}")
        await asyncio.to_thread(_remove_leftovers, job)
        if job.state is State.running:
            job.state = State.done
        asyncio.get_running_loop().call_later(self.limits.kept_s, self.remove, job.id)
        finished = [other.id for other in self._jobs.values() if other.state in (State.done, State.failed)]
        for old in finished[: -self.limits.kept]:
            self.remove(old)

    def _answer(self, error: AVFusionError, folder: Path, name: str) -> tuple[int, str]:
        """Status and text for the client, without the server's paths."""
        text = str(error)
        if _FULL in text:
            return 507, DISK_FULL
        if isinstance(error, WorkerError):
            _log.error("%s: %s", name, text)
            return 500, f"{name}: {OURS}"
        if isinstance(error, UnusableModelError):
            _log.error("%s: %s", name, text)
            text = text.replace(f"model {self._model} ", "the server's model ")
        text = text.replace(str(folder / VIDEO), name).replace(str(self._scratch), "…")
        if isinstance(error, TooCostlyError) and name not in text:
            text = f"{name}: {text}"
        return (400 if isinstance(error, BadInputError) else 500), text

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _stop_workers(self) -> None:
        for worker in (*self._inspectors, *self._workers):
            worker.stop()


def _remove_leftovers(job: Job) -> None:
    if job.state is State.failed:
        remove_folder(job.folder)
    else:
        (job.folder / VIDEO).unlink(missing_ok=True)
        remove_folder(job.folder / PASSING)
