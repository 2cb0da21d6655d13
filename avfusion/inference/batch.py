"""`avfusion predict`: many videos, one after the other; a bad one is named and the others are done."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from avfusion.errors import AVFusionError, BadInputError, describe_exception
from avfusion.inference.output import Target, check_overwrite, plan_targets, provenance, write_csv
from avfusion.inference.predictor import Predictor, Stream
from avfusion.inference.trace import plot_trace
from avfusion.progress import PLAIN_SECONDS

DONE, FAILED, BAD_INPUT = 0, 1, 2


def predict_files(
    videos: Sequence[Path],
    predictor: Predictor,
    *,
    folder: Path | None = None,
    stream: Stream = "both",
    stride: int | None = None,
    force: bool = False,
) -> int:
    """Write a CSV and a trace picture per video; faults go to the error stream, one line each.

    Returns:
        0: all done; 2: some input was bad, the others are done; 1: something else failed.
    """
    if folder is not None:
        there = next(part for part in (folder, *folder.absolute().parents) if part.exists())
        if not there.is_dir():
            raise BadInputError(f"{there} is not a folder: -o names the folder for the CSVs")
    targets = plan_targets(videos, folder)
    worst = DONE
    for number, target in enumerate(targets, 1):
        try:
            _predict_one(target, predictor, stream, stride, force, f"{target.video.name} ({number} of {len(targets)})")
        except AVFusionError as error:
            print(f"error: {error}", file=sys.stderr)
            worst = FAILED if FAILED in (worst, error.exit_code) else BAD_INPUT
        except Exception as error:  # a fault of ours or of the machine, not of the input: the other videos go on
            print(f"error: {target.video}: {describe_exception(error)}", file=sys.stderr)
            worst = FAILED
    return worst


def _predict_one(
    target: Target, predictor: Predictor, stream: Stream, stride: int | None, force: bool, label: str
) -> None:
    check_overwrite(target, force)
    started = time.perf_counter()
    with _PhaseProgress(label) as progress:
        table = predictor.predict(
            target.video,
            stream=stream,
            stride=stride,
            progress=progress.update,
            notice=lambda text: print(f"note: {text}", file=sys.stderr),
        )
    origin = {"model": predictor.source, "model_digest": predictor.digest, "stream": stream}
    origin["stride"] = str(stride or predictor.spec.stride)
    # The picture says whose the CSV is, so it comes first: a CSV without it would count as another video's.
    plot_trace(target.trace, table, f"{target.video.name}  ·  {predictor.name}", provenance(target, origin))
    write_csv(target.csv, table)
    print(f"{target.csv}: {_summary(table, stream)}, {time.perf_counter() - started:.1f} s")


def _summary(table: pd.DataFrame, stream: Stream) -> str:
    duration = float(table["time_s"].iloc[-1])
    faces = 100 * float((table["face_confidence"] > 0).mean())
    means = ", ".join(f"mean {name} {float(table[name].mean()):+.2f}" for name in ("valence", "arousal"))
    seen = "face not used" if stream == "audio" else f"face in {faces:.0f} % of frames"
    return f"{len(table)} frames ({duration:.1f} s), {means}, {seen}"


class _PhaseProgress:
    """Where one video stands: a bar per phase on a terminal, elsewhere a plain line now and then."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._bar: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._printed = time.monotonic()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
            self._bar = Progress(*columns, TimeRemainingColumn(), console=self._console, transient=True)
            self._bar.start()
        return self

    def update(self, phase: str, done: int, total: int) -> None:
        """Show `done` of `total` of a phase."""
        if self._bar is not None:
            if phase not in self._tasks:
                self._tasks[phase] = self._bar.add_task(f"{self._label}: {phase}", total=total)
            self._bar.update(self._tasks[phase], completed=done)
        elif time.monotonic() - self._printed >= PLAIN_SECONDS:
            self._printed = time.monotonic()
            self._console.print(f"{self._label}: {phase} {done}/{total}", markup=False)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
