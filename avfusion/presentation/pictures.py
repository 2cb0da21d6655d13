"""The pictures that `avfusion predict` writes beside the main person's table: one overlay and one page for everybody.

The video is read in a separate process, so that a crash or hang inside FFmpeg costs one video.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avfusion.inference.analysis import Person
from avfusion.media.time_limits import decoding_limit_s
from avfusion.presentation.model_card import ModelCard
from avfusion.presentation.output import Target, video_identity
from avfusion.presentation.overlay import Progress, overlay_provenance, write_overlay
from avfusion.presentation.video_report import report_provenance, write_video_report
from avfusion.runtime.atomic import atomic_path
from avfusion.runtime.errors import AVFusionError, BadInputError, describe_os_error
from avfusion.runtime.workers import Worker, WorkerError


@dataclass(frozen=True)
class Pictures:
    """The requested pictures."""

    overlay: bool = False
    report: bool = False

    def files(self, target: Target) -> dict[Path, Callable[[Path], dict[str, str]]]:
        """The files of a video's target, each with the function that reads its provenance."""
        files: dict[Path, Callable[[Path], dict[str, str]]] = {}
        if self.overlay:
            files[overlay_path(target)] = overlay_provenance
        if self.report:
            files[report_path(target)] = report_provenance
        return files

    def check_overwrite(self, target: Target, force: bool) -> None:
        """Refuse to replace a file of another video.

        Raises:
            BadInputError: there is a file of another video.
        """
        for path, origin in self.files(target).items():
            if not force and path.exists() and origin(path).get("video_identity") != video_identity(target.video):
                raise BadInputError(
                    f"{target.video}: {path} is there and was not made from this video: choose another folder with "
                    "-o, or overwrite with --force"
                )

    def are_done(self, target: Target, facts: Mapping[str, str]) -> bool:
        """Whether all pictures exist, made from this very video with these facts."""
        wanted = dict(facts) | {"video_identity": video_identity(target.video)}
        return all(wanted.items() <= origin(path).items() for path, origin in self.files(target).items())

    def write(
        self,
        target: Target,
        persons: Sequence[Person],
        card: ModelCard,
        *,
        warnings: Sequence[str],
        audio_track: int | None = None,
        origin: Mapping[str, str],
        force: bool,
        progress: Progress,
    ) -> None:
        """Write the pictures, each whole or not at all.

        Args:
            warnings: Warnings about the video, for the reader.
            audio_track: Number of the audio track that was heard, from 1; default: the one that players take.
            origin: Provenance kept in the files.
            progress: Called with the phase, frames done, and all frames.

        Raises:
            BadInputError: as `check_overwrite`.
            AVFusionError: a file cannot be written; or the process that read the video died, or took too long.
        """
        self.check_overwrite(target, force)
        if not self.files(target):
            return
        limit_s = decoding_limit_s(float(persons[0].predictions["time_s"].iloc[-1]))
        worker = Worker()
        try:
            if self.report:
                page: tuple[Any, ...] = (target.video, report_path(target), persons, card)
                worker.call(_report, *page, warnings, origin, audio_track, limit_s=limit_s)
            if self.overlay:
                path = overlay_path(target)
                with atomic_path(path) as temporary:  # here, so that nothing is left if the worker is killed
                    film = (target.video, path, temporary, persons, origin, card.notes, audio_track)
                    worker.call(_overlay, *film, limit_s=limit_s, report=progress)
        except WorkerError as error:
            raise AVFusionError(f"{target.video}: {error}") from None
        except OSError as error:
            raise AVFusionError(describe_os_error(error)) from None
        finally:
            worker.stop()


def overlay_path(target: Target) -> Path:
    """The overlay beside a table."""
    return target.table.with_suffix(".overlay.mp4")


def report_path(target: Target) -> Path:
    """The report beside a table."""
    return target.table.with_suffix(".report.html")


def _report(
    video: Path,
    path: Path,
    persons: Sequence[Person],
    card: ModelCard,
    warnings: Sequence[str],
    origin: Mapping[str, str],
    audio_track: int | None,
) -> None:
    write_video_report(video, path, persons, card, warnings=warnings, provenance=origin, audio_track=audio_track)


def _overlay(
    video: Path,
    path: Path,
    temporary: Path,
    persons: Sequence[Person],
    origin: Mapping[str, str],
    notes: Sequence[str],
    audio_track: int | None,
    progress: Progress,
) -> None:
    try:
        write_overlay(
            video, temporary, persons, provenance=origin, notes=notes, audio_track=audio_track, progress=progress
        )
    except OSError as error:
        raise AVFusionError(describe_os_error(OSError(error.errno, error.strerror, str(path)))) from None
