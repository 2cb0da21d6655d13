"""A worker process behind an asynchronous interface."""

import asyncio
from collections.abc import Callable
from typing import Any

from avfusion.runtime.workers import Worker


class AsyncWorker:
    """Calls functions in a worker process, one at a time; cancelling a call ends the process.

    The process is started on demand, also after it has ended; it calls `prepare` first.

    Attributes:
        prepared: what `prepare` returned; None before the first start.
    """

    def __init__(self, prepare: Callable[..., Any] | None = None, *arguments: object) -> None:
        self.prepared: Any = None
        self._prepare = prepare
        self._arguments = arguments
        self._worker: Worker | None = None

    async def start(self) -> None:
        """Start and prepare the process if it is not running.

        Raises:
            AVFusionError: it cannot be started, or `prepare` raised it.
        """
        if self._worker is not None and self._worker.usable:
            return
        self._worker = Worker()
        if self._prepare is not None:
            try:
                self.prepared = await self._wait(self._worker, None, self._prepare, *self._arguments)
            except BaseException:
                self.stop()
                raise

    async def call(
        self, function: Callable[..., Any], *arguments: Any, report: Callable[..., None] | None = None
    ) -> Any:
        """Call `function(*arguments)` in the process; with `report`, the function gets it as one more argument.

        Raises:
            WorkerError: the function failed unexpectedly, or its process died.
            AVFusionError: the function raised it.
        """
        await self.start()
        assert self._worker is not None
        return await self._wait(self._worker, report, function, *arguments)

    @property
    def alive(self) -> bool:
        """Whether the process is running."""
        return self._worker is not None and self._worker.usable

    def stop(self) -> None:
        """Kill the process."""
        if self._worker is not None:
            self._worker.stop()

    async def _wait(
        self, worker: Worker, report: Callable[..., None] | None, function: Callable[..., Any], *arguments: Any
    ) -> Any:
        try:
            worker.give(function, *arguments, reporting=report is not None)
            while (reply := worker.poll(report)) is None:
                await _readable(worker.fileno())
        except BaseException:  # nobody waits for the reply
            worker.stop()
            raise
        if reply.error:
            raise reply.error
        return reply.value


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def notice() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(descriptor, notice)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)
