"""What a video gives to a model: face crops and sound on one clock, in files that are those of the stores."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avfusion.config import Frames
from avfusion.data.audio import audio_samples, write_audio
from avfusion.data.frames import FrameRow, encode_crop, write_frames
from avfusion.errors import AVFusionError
from avfusion.media.audio import aligned_audio
from avfusion.media.face_tracks import face_crops
from avfusion.media.time_limits import PROBE_LIMIT_S, decoding_limit_s
from avfusion.media.timeline import Timeline, read_timeline
from avfusion.workers import Worker, WorkerError

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class VideoStreams:
    """A video read for prediction.

    Attributes:
        time_s: (N,) float64, seconds of every video frame, 0 at the first.
        crops: frame table of its face crops.
        face_present: (N,) bool, the frame has a crop.
        face_confidence: (N,) float32, 0 where there is no face.
        sound: WAV of the store, sample 0 at frame 1; None: no audio stream, or not asked for.
        samples: of the sound, 0 where there is none.
        silence: why there is no sound though it was asked for; empty where there is.
        warnings: what was repaired while reading.
    """

    time_s: np.ndarray
    crops: Path
    face_present: np.ndarray
    face_confidence: np.ndarray
    sound: Path | None
    samples: int
    silence: str
    warnings: tuple[str, ...]


def read_streams(
    path: str | Path,
    folder: Path,
    *,
    stream: str = "both",
    settings: Frames | None = None,
    timeline: Timeline | None = None,
    progress: Progress | None = None,
) -> VideoStreams:
    """Read what the wanted streams need into files; the other one is left out, as if the video lacked it.

    The files are those of the pipeline's stores, so that a video's features here are those of the features stage, and
    that a long video needs no more memory than a short one.

    Args:
        path: a local media file.
        folder: where the files are written.
        stream: `both`, `audio` or `visual`.
        settings: how faces are looked for; default: the defaults of params.yaml's section `frames`.
        timeline: the video's timeline where it is known already.
        progress: called with what is being done, frames done, and frames in all.

    Raises:
        BadInputError: not a readable video.
    """
    timeline = timeline or read_timeline(path)
    warnings = list(timeline.warnings)
    face = np.zeros(timeline.frames, bool)
    confidence = np.zeros(timeline.frames, np.float32)

    def rows() -> Iterator[FrameRow]:
        if stream == "audio":
            yield from (FrameRow(number, time_s, None, 0.0) for number, time_s in enumerate(timeline.times_s, 1))
            return
        for row in _crop_rows(path, settings or Frames(), timeline, warnings, progress or _ignore):
            face[row.frame - 1], confidence[row.frame - 1] = row.jpeg is not None, row.face_confidence
            yield row

    crops = folder / "frames.parquet"
    write_frames(crops, rows(), "")
    sound = None
    if stream != "visual" and timeline.audio_start_s is not None:
        sound = folder / "sound.wav"
        write_audio(sound, aligned_audio(path, timeline), "")
    samples = 0 if sound is None else audio_samples(sound)
    silence = "" if stream == "visual" else _silence(sound, samples, timeline)
    return VideoStreams(timeline.times_s, crops, face, confidence, sound, samples, silence, tuple(warnings))


def _crop_rows(
    path: str | Path, settings: Frames, timeline: Timeline, warnings: list[str], progress: Progress
) -> Iterator[FrameRow]:
    for crop in face_crops(
        path,
        detect_every=settings.detect_every,
        min_confidence=settings.min_confidence,
        timeline=timeline,
        on_warning=warnings.append,
        on_detection=lambda done: progress("looking for faces", done, timeline.frames),
    ):
        if crop.rgb is None:
            yield FrameRow(crop.frame, crop.time_s, None, 0.0)
        else:
            yield FrameRow(crop.frame, crop.time_s, encode_crop(crop.rgb, settings.jpeg_quality), crop.confidence)
        progress("cutting crops", crop.frame, timeline.frames)


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
        """A copy in another place has workers of its own."""
        return StreamReader, ()

    def read(
        self, path: str | Path, folder: Path, *, stream: str, settings: Frames, progress: Progress | None
    ) -> VideoStreams:
        """As `read_streams`, elsewhere.

        Raises:
            BadInputError: as `read_streams`.
            AVFusionError: the process that read the video died, or took too long.
        """
        worker = self._take()
        try:
            timeline = worker.call(read_timeline, path, limit_s=PROBE_LIMIT_S)
            limit_s = decoding_limit_s(timeline.end_s)
            arguments = (path, folder, stream, settings, timeline)
            return worker.call(_read_streams, *arguments, limit_s=limit_s, report=progress or _ignore)
        except WorkerError as error:
            raise AVFusionError(f"{path}: {error}") from None
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


def _read_streams(
    path: str | Path, folder: Path, stream: str, settings: Frames, timeline: Timeline, progress: Progress
) -> VideoStreams:
    return read_streams(path, folder, stream=stream, settings=settings, timeline=timeline, progress=progress)


def _ignore(phase: str, done: int, total: int) -> None:
    """Nobody wants to know."""
