"""Show the progress of many tasks: a bar on a terminal, otherwise occasional plain lines."""

import time
from collections.abc import Sequence
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

PLAIN_SECONDS = 10.0


class TaskProgress:
    """Counts finished and failed tasks and shows their rate; a context manager.

    On a terminal it shows a bar with the rate and the time left, elsewhere (logs, DVC, CI) a plain line about every 10
    s. Both end with a line of count, time and rate. Counts and rates refer to tasks; the bar and the time left are
    weighted, since videos differ in length. `brief`: without the last line, unless they took 10 s or failed.
    """

    def __init__(
        self, label: str, weights: Sequence[float], console: Console | None = None, *, brief: bool = False
    ) -> None:
        self.label, self.total, self._brief = label, len(weights), brief
        self.done = self.failed = 0
        self._weight, self._weight_done = sum(weights), 0.0
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._started = self._printed = self._advanced = time.monotonic()
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def __enter__(self) -> Self:
        if self._console.is_terminal and self.total:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TextColumn("{task.fields[count]}"),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._task = self._bar.add_task(self.label, total=self._weight, count=f"0/{self.total}")
            self._bar.start()
        return self

    def advance(self, weight: float, failed: bool = False) -> None:
        """Count one finished task of this weight."""
        self.done += 1
        self.failed += failed
        self._weight_done += weight
        self._advanced = time.monotonic()
        if self._bar:
            count = f"{self.done}/{self.total} {self._speed()}"
            self._bar.update(self._task, completed=self._weight_done, count=count)
        self.tick()

    def tick(self) -> None:
        """Print a line if the last one is old; called also while nothing finishes."""
        now = time.monotonic()
        if self._bar is None and now - self._printed >= PLAIN_SECONDS and self.done < self.total:
            self._printed = now
            speed = self._speed() if self.done else f"for {now - self._started:.0f} s"
            self._print(f"{self.label}: {self.done}/{self.total}, {speed}{self._left(now)}")

    def __exit__(self, kind: object, *_: object) -> None:
        if self._bar:
            self._bar.stop()
        seconds = time.monotonic() - self._started
        if self.total and not (self._brief and kind is None and seconds < PLAIN_SECONDS):
            failed = f", {self.failed} failed" if self.failed else ""
            word = "done" if kind is None else "when interrupted"
            speed = f" ({self._speed()})" if self.done else ""
            self._print(f"{self.label}: {self.done}/{self.total} {word} in {seconds:.1f} s{speed}{failed}")

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False)
        self._console.file.flush()

    def _left(self, now: float) -> str:
        """Time left, by the rate up to the last finished task; "" before the first, or if the estimate is overdue."""
        if not self._weight_done:
            return ""
        whole = (self._advanced - self._started) * self._weight / self._weight_done
        left = self._started + whole - now
        return f", {_clock(left)} left" if left > 0 else ""

    def _speed(self) -> str:
        rate = self.done / max(time.monotonic() - self._started, 1e-9)
        return f"{rate:.2f}/s" if rate >= 0.1 else f"{60 * rate:.1f}/min"


class TrainingLines:
    """Prints a line for each of a command's `total` trainings, with the time spent and the estimated time left."""

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0
        self._started = time.monotonic()

    def print(self, text: str) -> None:
        """Count one finished training and print its result."""
        self.done += 1
        spent = time.monotonic() - self._started
        left = spent / self.done * (self.total - self.done)
        print(f"{text} ({self.done} of {self.total}, {spent:.0f} s, about {left:.0f} s left)", flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
