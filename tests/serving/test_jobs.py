"""Jobs without HTTP: their limits, and what becomes of their files and processes."""

import asyncio
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from avfusion.runtime.errors import AVFusionError, BadInputError, UnusableModelError
from avfusion.runtime.workers import WorkerError
from avfusion.serving.jobs import DISK_FULL, OURS, Job, Jobs, State, _remove_leftovers
from avfusion.serving.limits import Limits
from avfusion.serving.model_process import JSON, VIDEO, Inspection
from avfusion.serving.process import AsyncWorker
from avfusion.serving.refusal import RefusalError

NO_TIME = Limits(job_base_s=0.05, job_s_per_s=0)


def with_jobs(
    scratch: Path,
    limits: Limits,
    body: Callable[[Jobs], Awaitable[None]],
    workers: int = 1,
    instead: Sequence[AsyncWorker] = (),
) -> None:
    """Run `body` on jobs whose model is not there, so that none succeeds, except by a worker that is given instead."""

    async def run() -> None:
        scratch.mkdir(exist_ok=True)
        own = instead or [AsyncWorker() for _ in range(workers)]
        async with Jobs(scratch, limits, own, scratch / "gone", "cpu") as jobs:
            await body(jobs)

    asyncio.run(run())


def submit(jobs: Jobs, content: bytes = b"video") -> Job:
    with jobs.place() as folder:
        (folder / VIDEO).write_bytes(content)
        return jobs.add(folder, "a.mp4", Inspection(25, 1.0))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


def test_a_job_that_takes_too_long_is_given_up_and_the_next_has_its_turn(tmp_path: Path) -> None:
    async def body(jobs: Jobs) -> None:
        first, second = submit(jobs), submit(jobs)
        assert (jobs.ahead_of(first), jobs.ahead_of(second)) == (0, 1)
        await until(lambda: jobs.count(State.failed) == 2)
        for job in (first, second):
            assert (job.status, job.error) == (500, "a.mp4: it took more than 0 s and was given up")
            with pytest.raises(RefusalError, match="given up"):
                await jobs.read_result(job, "json")
        await until(lambda: not list(tmp_path.iterdir()))

    with_jobs(tmp_path, NO_TIME, body)


def test_what_is_wrong_is_told_without_paths_and_traces(tmp_path: Path) -> None:
    async def body(jobs: Jobs) -> None:
        folder = tmp_path / "job"
        video = folder / VIDEO
        for error, expected in (
            (BadInputError(f"{video} has no video stream"), (400, "a.mp4 has no video stream")),
            (BadInputError(f"there is no model folder {tmp_path}/model"), (400, "there is no model folder …/model")),
            (AVFusionError(f"{video}: its worker process died"), (500, "a.mp4: its worker process died")),
            (
                UnusableModelError(f"model {tmp_path}/gone cannot be used: no numbers in {video}"),
                (500, "the server's model cannot be used: no numbers in a.mp4"),
            ),
            (WorkerError("KeyError: 'x' (at y.py:1)"), (500, f"a.mp4: {OURS}")),
            (WorkerError("OSError: [Errno 28] No space left on device"), (507, DISK_FULL)),
        ):
            assert jobs._answer(error, folder, "a.mp4") == expected

    with_jobs(tmp_path, Limits(), body, workers=0)


def test_results_expire_and_their_number_is_bounded(tmp_path: Path) -> None:
    async def body(jobs: Jobs) -> None:
        submitted = [submit(jobs) for _ in range(4)]
        await until(lambda: jobs.count(State.failed) == 2 and not jobs.count(State.waiting) + jobs.count(State.running))
        for job in submitted[:2]:
            with pytest.raises(RefusalError, match="unknown job"):
                jobs.find(job.id)
        assert [jobs.find(job.id).state for job in submitted[2:]] == [State.failed] * 2

    with_jobs(tmp_path, replace(NO_TIME, kept=2), body)

    async def brief(jobs: Jobs) -> None:
        job = submit(jobs)
        await until(lambda: job.state is State.failed)
        await until(lambda: jobs.count(State.failed) == 0)
        with pytest.raises(RefusalError, match="expired"):
            jobs.find(job.id)

    with_jobs(tmp_path, replace(NO_TIME, kept_s=0.05), brief)


def test_a_job_that_waits_can_be_removed(tmp_path: Path) -> None:
    async def body(jobs: Jobs) -> None:
        job = submit(jobs)
        with pytest.raises(RefusalError, match="the job is waiting") as caught:
            await jobs.read_result(job, "csv")
        assert (caught.value.status, caught.value.retry_after_s) == (409, 1)
        jobs.remove(job.id)
        jobs.remove(job.id)
        await until(lambda: not list(tmp_path.iterdir()))

    with_jobs(tmp_path, Limits(), body, workers=0)


def test_removing_a_job_that_runs_ends_its_process(tmp_path: Path) -> None:
    async def body(jobs: Jobs) -> None:
        job = submit(jobs)
        await until(lambda: job.state is State.running)
        worker = jobs._workers[0]
        first = worker._worker
        jobs.remove(job.id)
        await until(lambda: not worker.alive)
        await until(lambda: not list(tmp_path.iterdir()))
        assert await worker.call(len, "abc") == 3
        assert worker._worker is not first

    with_jobs(tmp_path, Limits(), body)


class WithoutProcess(AsyncWorker):
    """Writes a result as soon as it may."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.may = 0, asyncio.Event()
        self.may.set()

    async def start(self) -> None:
        """There is nothing to start."""

    async def call(
        self, function: Callable[..., object], *arguments: object, report: Callable[..., None] | None = None
    ) -> None:
        """In place of `predict_upload`."""
        self.calls += 1
        folder = arguments[3]
        assert isinstance(folder, Path)
        await self.may.wait()
        (folder / JSON).write_text("{}")


def test_a_job_removed_before_its_work_takes_the_first_step_leaves_nothing(tmp_path: Path) -> None:
    worker = WithoutProcess()

    async def body(jobs: Jobs) -> None:
        job = submit(jobs)
        while job.task is None:  # it is seen in the turn of the loop in which it is made, and runs in the next
            await asyncio.sleep(0)
        jobs.remove(job.id)
        await until(lambda: not list(tmp_path.iterdir()))
        assert (job.task.cancelled(), worker.calls) == (True, 0)

    with_jobs(tmp_path, Limits(), body, instead=[worker])


def test_a_job_removed_while_its_video_is_removed_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slowly(job: Job) -> None:
        begun.set()
        assert go_on.wait(60)
        _remove_leftovers(job)

    monkeypatch.setattr("avfusion.serving.jobs._remove_leftovers", slowly)

    async def body(jobs: Jobs) -> None:
        job = submit(jobs)
        await until(begun.is_set)
        jobs.remove(job.id)
        await until(lambda: job.task is not None and job.task.cancelled())
        go_on.set()
        await until(lambda: not list(tmp_path.iterdir()))

    with_jobs(tmp_path, Limits(), body, instead=[WithoutProcess()])


def test_a_job_that_ends_after_many_younger_ones_leaves_nothing(tmp_path: Path) -> None:
    """Then it is itself the oldest, and removed by its own work."""
    workers = [WithoutProcess(), WithoutProcess()]
    workers[0].may.clear()

    async def body(jobs: Jobs) -> None:
        first, second = submit(jobs), submit(jobs)
        await until(lambda: second.state is State.done)
        assert first.state is State.running
        workers[0].may.set()
        await until(lambda: list(tmp_path.iterdir()) == [second.folder])
        assert jobs.find(second.id) is second
        with pytest.raises(RefusalError, match="unknown job"):
            jobs.find(first.id)

    with_jobs(tmp_path, replace(Limits(), kept=1), body, instead=workers)


def test_ids_cannot_be_guessed(tmp_path: Path) -> None:
    ids = {Job("a", tmp_path, 1, 1.0).id for _ in range(100)}
    assert len(ids) == 100
    assert min(map(len, ids)) == 24


def die(report: object = None) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def report_twice(text: str, report: Callable[[str], None]) -> str:
    report(text)
    report(text.upper())
    return text * 2


def refuse() -> None:
    raise AVFusionError("not ready")


def test_a_worker_reports_dies_and_comes_back(tmp_path: Path) -> None:
    async def run() -> None:
        worker, said = AsyncWorker(), []
        assert await worker.call(report_twice, "a", report=said.append) == "aa"
        assert said == ["a", "A"]
        with pytest.raises(WorkerError, match="SIGKILL"):
            await worker.call(die)
        assert not worker.alive
        assert await worker.call(len, "abc") == 3
        worker.stop()
        unready = AsyncWorker(refuse)
        with pytest.raises(AVFusionError, match="not ready"):
            await unready.start()
        assert not unready.alive

    asyncio.run(run())


def test_the_limits_of_a_job_and_of_media_follow_the_videos(tmp_path: Path) -> None:
    limits = Limits()
    assert limits.job_s(10) == 600
    assert limits.media().duration_s == 1800
    assert replace(limits, video_s=1e9).media().duration_s == 6 * 3600, "never more than the opener's own"
