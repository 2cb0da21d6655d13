"""`avfusion predict`: many videos, one after the other; a bad one is named and the others are done."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from avfusion.fusion.inference import Mode
from avfusion.inference.advice import Advice
from avfusion.inference.analysis import MAIN, Person
from avfusion.inference.predictor import Predictor, Stream
from avfusion.inference.streams import People
from avfusion.presentation.find_videos import find_videos
from avfusion.presentation.model_card import model_card
from avfusion.presentation.output import (
    PERSONS,
    TABLE_DIGEST,
    Target,
    check_names,
    check_overwrite,
    check_writable,
    is_done,
    nearest_existing,
    picture_metadata,
    plan_targets,
    provenance,
    video_identity,
)
from avfusion.presentation.pictures import Pictures
from avfusion.presentation.tables import SUFFIXES, write_predictions
from avfusion.runtime.atomic import atomic_path, remove_left
from avfusion.runtime.errors import AVFusionError, BadInputError, describe_exception, describe_os_error
from avfusion.runtime.fingerprints import file_digest
from avfusion.runtime.printable import print_besides, printable, say
from avfusion.runtime.progress import PLAIN_SECONDS
from avfusion.runtime.quantities import counted

DONE, FAILED, BAD_INPUT = 0, 1, 2
ADVICE = Advice("use --people all", "predict --min-face lowers it")
SOMEBODY = "person-99"  # so many people fit into the names of files


@dataclass(frozen=True)
class Request:
    """What is wanted of every video.

    Attributes:
        people, stream, stride, mode, uncertainty, calibrated, audio_track: as for `Predictor.analyse`.
        form: of the tables, a key of `avfusion.presentation.tables.SUFFIXES`.
    """

    people: People = "main"
    stream: Stream = "both"
    stride: int | None = None
    mode: Mode | None = None
    uncertainty: bool = False
    calibrated: bool = False
    audio_track: int | None = None
    form: str = "csv"
    pictures: Pictures = field(default_factory=Pictures)

    def facts(self, predictor: Predictor) -> dict[str, str]:
        """What decides the tables of a video, besides the video."""
        return {
            "model_digest": predictor.digest,
            "code": predictor.code,
            "people": self.people,
            "stream": self.stream,
            "stride": str(self.stride or predictor.spec.stride),
            "mode": self.mode or predictor.mode,
            "min_face": str(predictor.frames.min_face),
            "uncertainty": str(self.uncertainty).lower(),
            "audio_track": str(self.audio_track or "default"),
            "format": self.form,
        } | ({"calibrated": "true"} if self.calibrated else {})


def predict_files(
    arguments: Sequence[Path],
    predictor: Predictor,
    *,
    folder: Path | None = None,
    request: Request = Request(),
    force: bool = False,
) -> int:
    """Write a table and a trace picture per video and person; faults go to the error stream, one line each.

    A video whose tables were made by the same model, options and code already is left as it is.

    Args:
        arguments: videos, folders with videos, patterns.
        folder: for the tables; default: beside each video.
        force: predict what is done again, and overwrite other videos' tables.

    Returns:
        0: all done; 2: some input was bad, the others are done; 1: something else failed.

    Raises:
        BadInputError: `folder` cannot be one, or the format cannot hold what is wanted.
    """
    if request.people == "all" and request.form == "abaw":
        raise BadInputError(
            "format abaw has a value for every frame, and people all has values for each person's own frames only: "
            "use another format, or people main"
        )
    if folder is not None:
        there = nearest_existing(folder)
        if not there.is_dir():
            raise BadInputError(f"{there} is not a folder: -o names the folder for the tables")
    found = find_videos(arguments)
    for note in found.notes:
        say(f"note: {note}")
    outcome = _Outcome()
    for argument, reason in found.faults:
        outcome.failed(BAD_INPUT, str(argument), f"{argument} {reason}")
    targets = plan_targets(found.videos, folder, SUFFIXES[request.form])
    for number, target in enumerate(targets, 1):
        try:
            label = f"{printable(target.video.name)} ({number} of {len(targets)})"
            outcome.count(_predict_one(target, predictor, request, force, label))
        except AVFusionError as error:
            outcome.failed(error.exit_code, str(target.video), str(error))
        except OSError as error:  # disk full, no permission
            outcome.failed(FAILED, str(target.video), f"{target.video}: {describe_os_error(error)}")
        except Exception as error:  # a fault of ours or of the machine, not of the input: the other videos go on
            outcome.failed(FAILED, str(target.video), f"{target.video}: {describe_exception(error)}")
    if len(targets) + len(found.faults) > 1:
        outcome.tell()
    return outcome.code


class _Outcome:
    """What became of the videos so far."""

    def __init__(self) -> None:
        self.code = DONE
        self._counts = {"predicted": 0, "done before": 0}
        self._faults: list[tuple[str, str]] = []

    def count(self, what: str) -> None:
        self._counts[what] += 1

    def failed(self, code: int, video: str, reason: str) -> None:
        say(f"error: {reason}")
        self.code = FAILED if FAILED in (self.code, code) else BAD_INPUT
        self._faults.append((video, reason.removeprefix(video).lstrip(": ")))

    def tell(self) -> None:
        """Print the number of files by outcome, and a table of the failed ones with reasons."""
        told = [f"{number} {what}" for what, number in self._counts.items() if number]
        told += [f"{len(self._faults)} failed"] if self._faults else []
        total = sum(self._counts.values()) + len(self._faults)
        print(f"{counted(total, 'file')}: {', '.join(told)}", file=sys.stderr)
        width = max((len(printable(video)) for video, _ in self._faults), default=0)
        for video, reason in self._faults:
            say(f"  {printable(video):<{width}}  {reason}")


def _predict_one(target: Target, predictor: Predictor, request: Request, force: bool, label: str) -> str:
    others = target.of(SOMEBODY).files if request.people == "all" else ()
    check_names(target, [*target.files, *others, *request.pictures.files(target)])
    check_overwrite(target, force)
    request.pictures.check_overwrite(target, force)
    facts = request.facts(predictor) | {"video_identity": video_identity(target.video)}  # as it was before the work
    if not force and is_done(target, facts, request.pictures.are_done):
        print_besides(f"{target.table}: done before by this model with these options (--force predicts again)")
        return "done before"
    check_writable(target)
    remove_left(target.table.parent)
    started = time.perf_counter()
    with _PhaseProgress(label) as progress:
        analysis = predictor.analyse(
            target.video,
            people=request.people,
            stream=request.stream,
            stride=request.stride,
            mode=request.mode,
            uncertainty=request.uncertainty,
            calibrated=request.calibrated,
            audio_track=request.audio_track,
            advice=ADVICE,
            progress=progress.update,
            notice=lambda text: say(f"note: {text}"),
        )
        facts |= {"model": predictor.source, PERSONS: str(len(analysis.persons))}
        origins = {}
        for person in reversed(analysis.persons):  # the main person's table is last: it says that all are there
            origins[person.name] = _write(target.of(person.name), person, predictor, analysis.warnings, facts, force)
        request.pictures.write(
            target,
            analysis.persons,
            model_card(predictor),
            warnings=analysis.warnings,
            audio_track=request.audio_track,
            origin=origins[MAIN],
            force=force,
            progress=progress.update,
        )
    for person in analysis.persons:
        summary = _summary(person.predictions, request.stream, pictures=analysis.width > 0)
        print_besides(f"{target.of(person.name).table}: {summary}")
    print(f"{label}: {time.perf_counter() - started:.1f} s", file=sys.stderr)
    return "predicted"


def _write(
    target: Target, person: Person, predictor: Predictor, warnings: Sequence[str], facts: Mapping[str, str], force: bool
) -> dict[str, str]:
    """Write table and trace; give what they say about their origin.

    The trace says whose the table is and what is in it, so it comes first: a table without it would count as another
    video's, and one of another content is made anew.
    """
    from avfusion.presentation.trace import (
        plot_trace,  # and with it matplotlib, which nobody has to wait for at the start
    )

    check_overwrite(target, force)
    origin = provenance(target, dict(facts) | ({"person": person.name} if person.name else {}))
    with atomic_path(target.table) as temporary:
        write_predictions(temporary, person.predictions, facts["format"], origin, (*predictor.notes, *warnings))
        metadata = picture_metadata(origin | {TABLE_DIGEST: file_digest(temporary)})
        shown = f"{target.video.name}  ·  {predictor.name}"
        who = person if facts["people"] == "all" else None
        plot_trace(target.trace, person.predictions, shown, metadata, who, predictor.notes)
    return origin


def _summary(table: pd.DataFrame, stream: Stream, *, pictures: bool) -> str:
    duration = float(table["time_s"].iloc[-1])
    faces = 100 * float((table["face_confidence"] > 0).mean())
    own = table["valence"].notna()
    if not own.any():
        return (
            f"{len(table)} frames ({duration:.1f} s), no values (no clip has the face), face in {faces:.0f} % of frames"
        )
    means = ", ".join(
        f"mean {name} {round(float(table.loc[own, name].mean()), 2) + 0.0:+.2f}" for name in ("valence", "arousal")
    )
    whose = "" if own.all() else f" over the person's own {own.sum()} frames"
    seen = "face not used" if stream == "audio" else f"face in {faces:.0f} % of frames"
    if not pictures:
        return f"{len(table)} rows ({duration:.1f} s), {means}, from the voice alone"
    return f"{len(table)} frames ({duration:.1f} s), {means}{whose}, {seen}"


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

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
