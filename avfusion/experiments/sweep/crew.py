"""The worker processes of one machine: replaced when they die, and asked to stop on Ctrl-C."""

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from avfusion.experiments.sweep.worker import WorkerTask, run_trials
from avfusion.runtime.errors import AVFusionError
from avfusion.runtime.workers import Worker, WorkerError

MAX_DEATHS = 5
"""Number of deaths after which a worker is not restarted: too little memory, or a recurring crash."""


class Hand:
    """A worker process and its replacements."""

    def __init__(self, task: WorkerTask) -> None:
        self.task = task
        self.deaths = 0
        self.error: AVFusionError | None = None
        self._start()

    def _start(self) -> None:
        self.pid: int | None = None
        self.busy = True
        self.worker = Worker(threads=1)
        self.worker.give(run_trials, self.task, reporting=True)

    def look(self, say: Callable[[str], None]) -> None:
        """Take the worker's reply if there is one; replace a dead worker."""
        if not self.busy or (reply := self.worker.poll(self._introduce)) is None:
            return
        self.busy = False
        if reply.error is None:
            return
        self.deaths += 1
        self.error = reply.error
        if isinstance(reply.error, WorkerError) and self.deaths < MAX_DEATHS:
            say(f"worker {self.task.index}: {reply.error}; another takes its place, and its trial is repeated")
            self.worker.stop()
            self.error = None
            self._start()
        else:
            say(f"worker {self.task.index}: {reply.error}; given up")

    def _introduce(self, pid: int) -> None:
        self.pid = pid

    def ask_to_stop(self) -> bool:
        """Ask the worker to end after the current epoch; False: it cannot be asked yet."""
        if self.pid is None:
            return False
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        return True


class Interrupts:
    """Counts Ctrl-C instead of raising: passes the first on to the workers; the second raises."""

    def __init__(self) -> None:
        self.count = 0
        self._asked: set[int] = set()
        self._before: Any = None

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._count)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _count(self, *_: object) -> None:
        self.count += 1
        if self.count > 1:
            raise KeyboardInterrupt

    def pass_on(self, crew: list[Hand], say: Callable[[str], None]) -> None:
        """Ask the workers to stop, each once."""
        if not self.count:
            return
        if not self._asked:
            say("stopping after the current epochs; Ctrl-C again stops at once")
        for hand in crew:
            if hand.busy and id(hand.worker) not in self._asked and hand.ask_to_stop():
                self._asked.add(id(hand.worker))
