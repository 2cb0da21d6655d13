"""Read a video for prediction: face crops and sound on one clock, in files of the stores' formats."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from avfusion.data.audio import audio_samples, write_audio
from avfusion.data.feature_spec import FeatureSpec
from avfusion.data.frames import FrameRow, FrameWriter, encode_crop
from avfusion.data.presence import shown_frames
from avfusion.data.settings import FramesSettings
from avfusion.inference.advice import IN_PYTHON, Advice
from avfusion.media.audio import aligned_audio
from avfusion.media.audio_timeline import read_any_timeline
from avfusion.media.causal_faces import followed_face
from avfusion.media.face_tracks import (
    FaceCrop,
    cut_crops,
    doubts,
    find_tracks,
    interpolate_faces,
    others_left_out,
    others_than,
)
from avfusion.media.persons import everybody, main_person
from avfusion.media.time_limits import PROBE_LIMIT_S, decoding_limit_s
from avfusion.media.timeline import Timeline
from avfusion.media.video import read_video
from avfusion.media.wav import SAMPLE_RATE
from avfusion.runtime.atomic import atomic_path
from avfusion.runtime.errors import AVFusionError, BadInputError, describe_os_error
from avfusion.runtime.quantities import byte_size
from avfusion.runtime.work_limits import TooCostlyError
from avfusion.runtime.workers import Worker, WorkerError

Progress = Callable[[str, int, int], None]
MORE_ROOM = "let TMPDIR name a folder with more room"


People = Literal["main", "all"]


@dataclass(frozen=True)
class PersonFaces:
    """One person's face through a video of N frames.

    Attributes:
        crops: frame table of the face crops.
        present: (N,) bool, frames with a crop.
        boxes: (N, 4) float32: x, y of the upper left corner, width, height in pixels of the upright picture, possibly
            beyond its edges; NaN where there is no face.
        thumbnail: JPEG of the clearest crop; empty without a face.
    """

    crops: Path
    present: np.ndarray
    confidence: np.ndarray
    boxes: np.ndarray
    thumbnail: bytes


@dataclass(frozen=True)
class VideoStreams:
    """A video read for prediction.

    Attributes:
        time_s: (N,) float64, seconds of every video frame, 0 at the first; of sound without pictures, 25 rows a second.
        persons: the main person first, then the others if requested.
        strangers: (N,) bool, frames with the face of somebody who is none of the persons.
        sound: WAV in the store's format, sample 0 at frame 1; None: no audio stream, or not requested.
        samples: number of samples, 0 without sound.
        silence: why requested sound is missing; empty with sound.
        size: width and height of the upright picture; 0 without pictures.
    """

    time_s: np.ndarray
    persons: tuple[PersonFaces, ...]
    strangers: np.ndarray
    sound: Path | None
    samples: int
    silence: str
    size: tuple[int, int]
    fps: float
    warnings: tuple[str, ...]


def read_streams(
    path: str | Path,
    folder: Path,
    *,
    stream: str = "both",
    people: People = "main",
    causal: bool = False,
    settings: FramesSettings | None = None,
    spec: FeatureSpec | None = None,
    audio_track: int | None = None,
    advice: Advice = IN_PYTHON,
    timeline: Timeline | None = None,
    progress: Progress | None = None,
) -> VideoStreams:
    """Read the requested streams of a video into files; the other stream is treated as absent.

    The files have the formats of the pipeline's stores, so the features equal those of the stage `features`, and long
    videos need no more memory than short ones.

    Args:
        stream: `both`, `audio` or `visual`.
        people: `main`: the main person alone; `all`: everybody (`avfusion.media.persons.everybody`).
        causal: follow one face from the past alone (`avfusion.media.causal_faces`), regardless of `people`.
        settings: settings of face detection; default: the defaults of the section `frames` of params.yaml.
        spec: spec of the features: crops outside all clips are left empty if all frames can be decoded.
        audio_track: number of the audio track, from 1; default: as `avfusion.media.audio_track.choose_audio_track`.
        advice: for the reader of warnings.
        progress: called with the phase, frames done, and all frames.

    Raises:
        BadInputError: the video cannot be read, or has no pictures where `visual` is requested.
    """
    timeline = timeline or read_any_timeline(path, audio_track=audio_track)
    if stream == "visual" and not timeline.has_pictures:
        raise BadInputError(f"{path} has sound and no pictures, so there is no visual stream")
    warnings = list(timeline.warnings)
    settings = settings or FramesSettings()
    strangers = np.zeros(timeline.frames, bool)
    if stream == "audio" or not timeline.has_pictures:
        number, rows = 1, _nobody(timeline)
    elif causal:
        number, rows = 1, _followed(path, settings, timeline, warnings, progress or _ignore)
    else:
        found = _looked_for(path, people, settings, spec, advice, timeline, warnings, progress or _ignore)
        number, rows, strangers = found
    persons = _written(folder, number, rows, timeline.frames, settings.jpeg_quality)
    sound = None
    if stream != "visual" and timeline.audio_start_s is not None:
        sound = folder / "sound.wav"
        with atomic_path(sound) as temporary:  # which finds the reason where libsndfile hides it
            write_audio(temporary, aligned_audio(path, timeline, on_warning=warnings.append))
    samples = 0 if sound is None else audio_samples(sound)
    silence = "" if stream == "visual" else _silence(sound, samples, timeline)
    first = next(read_video(path, timeline=timeline), None) if timeline.has_pictures else None
    if first is None and timeline.has_pictures and not samples and stream != "audio":
        raise BadInputError(f"{path} is damaged: none of its {timeline.frames} frames can be decoded")
    size = (timeline.width, timeline.height) if first is None else (first.rgb.shape[1], first.rgb.shape[0])
    return VideoStreams(
        timeline.times_s,
        persons,
        strangers,
        sound,
        samples,
        silence,
        size,
        timeline.fps,
        tuple(dict.fromkeys(warnings)),
    )


def _nobody(timeline: Timeline) -> Iterator[list[FaceCrop]]:
    for index, time_s in enumerate(timeline.times_s.tolist()):
        yield [FaceCrop(index + 1, time_s, None, 0.0)]


def _followed(
    path: str | Path, settings: FramesSettings, timeline: Timeline, warnings: list[str], progress: Progress
) -> Iterator[list[FaceCrop]]:
    for crop in followed_face(
        path,
        timeline,
        detect_every=settings.detect_every,
        min_confidence=settings.min_confidence,
        min_face=settings.min_face,
        on_warning=warnings.append,
    ):
        yield [crop]
        if _is_told(crop.frame, settings, timeline):
            progress("following the face", crop.frame, timeline.frames)


def _looked_for(
    path: str | Path,
    people: People,
    settings: FramesSettings,
    spec: FeatureSpec | None,
    advice: Advice,
    timeline: Timeline,
    warnings: list[str],
    progress: Progress,
) -> tuple[int, Iterator[list[FaceCrop]], np.ndarray]:
    """The number of persons, the crops of each in every frame, and the frames (N,) bool with somebody else's face."""
    damage: list[str] = []
    tracks = find_tracks(
        path,
        detect_every=settings.detect_every,
        min_confidence=settings.min_confidence,
        min_face=settings.min_face,
        timeline=timeline,
        on_detection=lambda done: progress("looking for faces", done, timeline.frames),
        on_warning=damage.append,
    )
    persons = everybody(tracks) if people == "all" else [main_person(tracks)]
    warnings += doubts(persons, tracks)
    if people == "all":
        warnings += others_left_out(persons, tracks)
    else:
        warnings += others_than(persons[0], tracks, advice.several_people)
    gap = 2 * settings.detect_every
    theirs = {id(track) for person in persons for track in person.stretches}
    rest = [track for track in tracks if id(track) not in theirs]
    strangers = interpolate_faces(rest, timeline.frames, longest_gap=gap).confidence > 0

    # The frames of clips depend on the frames with a face; a frame that cannot be decoded turns out to have none.
    wanted = None if spec is None or damage else partial(shown_frames, timeline.times_s, spec=spec)

    def rows() -> Iterator[list[FaceCrop]]:
        for row in cut_crops(path, persons, timeline, longest_gap=gap, wanted=wanted, on_warning=warnings.append):
            yield row
            if _is_told(row[0].frame, settings, timeline):
                progress("cutting crops", row[0].frame, timeline.frames)

    return len(persons), rows(), strangers


def _is_told(frame: int, settings: FramesSettings, timeline: Timeline) -> bool:
    """Whether to report progress: as often as faces are detected, since each report wakes the waiting process."""
    return frame % settings.detect_every == 0 or frame == timeline.frames


def _written(
    folder: Path, number: int, rows: Iterator[list[FaceCrop]], frames: int, quality: int
) -> tuple[PersonFaces, ...]:
    """Write the crops of each person to a separate file."""
    crops = [folder / f"frames-{index}.parquet" for index in range(number)]
    present, confidence = np.zeros((number, frames), bool), np.zeros((number, frames), np.float32)
    boxes = np.full((number, frames, 4), np.nan, np.float32)
    clearest = [(0.0, 0.0, b"")] * number
    with ExitStack() as files:
        writers = [files.enter_context(FrameWriter(path)) for path in crops]
        for row in rows:
            for person, (writer, crop) in enumerate(zip(writers, row, strict=True)):
                jpeg = _jpeg(crop, quality)
                writer.write(FrameRow(crop.frame, crop.time_s, jpeg, crop.confidence))
                if crop.box is None:
                    continue
                at = person, crop.frame - 1
                present[at], confidence[at] = True, crop.confidence
                boxes[at] = (*crop.box[:2], *(crop.box[2:] - crop.box[:2]))
                if jpeg:  # confidences of clear faces differ by less than a hundredth: then the largest is the clearest
                    area = float(np.prod(boxes[at][2:]))
                    clearest[person] = max(
                        clearest[person], (round(crop.confidence, 2), area, jpeg), key=lambda c: c[:2]
                    )
    return tuple(
        PersonFaces(crops[person], present[person], confidence[person], boxes[person], clearest[person][2])
        for person in range(number)
    )


def _jpeg(crop: FaceCrop, quality: int) -> bytes | None:
    """The crop as JPEG; None without a face, empty for a face outside all clips."""
    if crop.rgb is not None:
        return encode_crop(crop.rgb, quality)
    return b"" if crop.confidence > 0 else None


def _silence(sound: Path | None, samples: int, timeline: Timeline) -> str:
    if sound is None:
        return "no audio stream"
    if samples:
        return ""
    if timeline.audio_end_s is not None and timeline.audio_end_s <= 0:
        return "its sound ends before the first frame"
    return "its audio stream cannot be decoded"


class StreamReader:
    """Reads videos in worker processes, so that a crash or hang inside FFmpeg costs one video and not its caller.

    A worker is kept for the next video, since it takes a second to start; calls from several threads have one each.
    """

    def __init__(self) -> None:
        self._idle: list[Worker] = []

    def __reduce__(self) -> tuple[type["StreamReader"], tuple[()]]:
        """A copy in another process has its own workers."""
        return StreamReader, ()

    def read(
        self,
        path: str | Path,
        folder: Path,
        *,
        stream: str,
        people: People = "main",
        causal: bool = False,
        settings: FramesSettings,
        spec: FeatureSpec | None = None,
        audio_track: int | None = None,
        advice: Advice = IN_PYTHON,
        progress: Progress | None,
    ) -> VideoStreams:
        """As `read_streams`, in a worker process.

        Raises:
            BadInputError: as `read_streams`.
            AVFusionError: the worker process died, or took too long.
        """
        worker = self._take()
        try:
            timeline = worker.call(_read_timeline, path, audio_track, limit_s=PROBE_LIMIT_S)
            limit_s = decoding_limit_s(timeline.end_s)
            options = {"stream": stream, "people": people, "causal": causal, "settings": settings, "spec": spec}
            arguments = (path, folder, options | {"advice": advice, "timeline": timeline})
            return worker.call(_read_streams, *arguments, limit_s=limit_s, report=progress)
        except WorkerError as error:
            raise AVFusionError(f"{path}: {error}") from None
        except TooCostlyError as error:
            raise TooCostlyError(str(error) if str(path) in str(error) else f"{path}: {error}") from None
        finally:
            if worker.usable:
                self._idle.append(worker)

    def _take(self) -> Worker:
        while True:
            try:
                worker = self._idle.pop()
            except IndexError:
                return Worker()
            if worker.usable:
                return worker


def _read_timeline(path: str | Path, audio_track: int | None) -> Timeline:
    return read_any_timeline(path, audio_track=audio_track)


def _read_streams(
    path: str | Path, folder: Path, options: dict[str, Any], progress: Progress | None = None
) -> VideoStreams:
    try:
        _check_room(path, folder, options["timeline"], options["stream"])
        return read_streams(path, folder, **options, progress=progress)
    except OSError as error:  # from a library that names no file
        fault = describe_os_error(OSError(error.errno, os.strerror(error.errno or 0), str(folder)))
        hint = f": {MORE_ROOM}" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise AVFusionError(f"{path}: {fault}{hint}") from None


def _check_room(path: str | Path, folder: Path, timeline: Timeline, stream: str) -> None:
    """Refuse before the work a disk that has no room for the sound, which takes more than the crops of most videos."""
    if stream == "visual" or timeline.audio_start_s is None:
        return
    needed, free = timeline.end_s * SAMPLE_RATE * 2, shutil.disk_usage(folder).free
    if free < needed:
        room = f"{folder.parent} has {byte_size(free)} free, and the sound needs {byte_size(needed)}"
        raise AVFusionError(f"{path}: {os.strerror(errno.ENOSPC)}: {room}: {MORE_ROOM}")


def _ignore(phase: str, done: int, total: int) -> None:
    """Ignore progress."""
