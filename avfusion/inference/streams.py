"""What a video gives to a model: face crops and sound on one clock, exactly as the stores keep them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avfusion.config import Frames
from avfusion.data.frames import encode_crop
from avfusion.errors import AVFusionError
from avfusion.media.audio import read_aligned_audio
from avfusion.media.face_tracks import face_crops
from avfusion.media.time_limits import PROBE_LIMIT_S, decoding_limit_s
from avfusion.media.timeline import Timeline, read_timeline
from avfusion.workers import Worker, WorkerError

PCM_SCALE = 32768
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class VideoStreams:
    """A video read for prediction.

    Attributes:
        time_s: (N,) float64, seconds of every video frame, 0 at the first.
        jpegs: N face crops, None where there is no face.
        face_confidence: (N,) float32, 0 where there is no face.
        waveform: (n,) float32 mono at 44.1 kHz, sample 0 at frame 1; None: no audio stream, or not asked for.
        silence: why there is no sound though it was asked for; empty where there is.
        warnings: what was repaired while reading.
    """

    time_s: np.ndarray
    jpegs: list[bytes | None]
    face_confidence: np.ndarray
    waveform: np.ndarray | None
    silence: str
    warnings: tuple[str, ...]


def read_streams(
    path: str | Path,
    *,
    stream: str = "both",
    settings: Frames | None = None,
    timeline: Timeline | None = None,
    progress: Progress | None = None,
) -> VideoStreams:
    """Read what the wanted streams need; the other one is left out, as if the video lacked it.

    Crops pass through JPEG and sound through 16 bits, as in the stores of the pipeline, so that a video's features here
    are those of the features stage.

    Args:
        path: a local media file.
        stream: `both`, `audio` or `visual`.
        settings: how faces are looked for; default: the defaults of params.yaml's section `frames`.
        timeline: the video's timeline where it is known already.
        progress: called with what is being done, frames done, and frames in all.

    Raises:
        BadInputError: not a readable video.
    """
    settings = settings or Frames()
    timeline = timeline or read_timeline(path)
    warnings = list(timeline.warnings)
    jpegs: list[bytes | None] = [None] * timeline.frames
    confidence = np.zeros(timeline.frames, np.float32)
    if stream != "audio":
        report = progress or (lambda phase, done, total: None)
        for crop in face_crops(
            path,
            detect_every=settings.detect_every,
            min_confidence=settings.min_confidence,
            timeline=timeline,
            on_warning=warnings.append,
            on_detection=lambda done: report("looking for faces", done, timeline.frames),
        ):
            if crop.rgb is not None:
                jpegs[crop.frame - 1] = encode_crop(crop.rgb, settings.jpeg_quality)
                confidence[crop.frame - 1] = crop.confidence
            report("cutting crops", crop.frame, timeline.frames)
    waveform = None if stream == "visual" else read_aligned_audio(path, timeline=timeline)
    if waveform is not None:
        waveform = np.clip(np.rint(waveform * PCM_SCALE), -PCM_SCALE, PCM_SCALE - 1).astype(np.float32) / PCM_SCALE
    silence = "" if stream == "visual" else _silence(waveform, timeline)
    return VideoStreams(timeline.times_s, jpegs, confidence, waveform, silence, tuple(warnings))


def _silence(waveform: np.ndarray | None, timeline: Timeline) -> str:
    if waveform is None:
        return "no audio stream"
    if len(waveform):
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

    def read(self, path: str | Path, *, stream: str, settings: Frames, progress: Progress | None) -> VideoStreams:
        """As `read_streams`, elsewhere.

        Raises:
            BadInputError: as `read_streams`.
            AVFusionError: the process that read the video died, or took too long.
        """
        worker = self._take()
        try:
            timeline = worker.call(read_timeline, path, limit_s=PROBE_LIMIT_S)
            limit_s = decoding_limit_s(timeline.end_s)
            arguments = (path, stream, settings, timeline)
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
    path: str | Path, stream: str, settings: Frames, timeline: Timeline, progress: Progress
) -> VideoStreams:
    return read_streams(path, stream=stream, settings=settings, timeline=timeline, progress=progress)


def _ignore(phase: str, done: int, total: int) -> None:
    """Nobody wants to know."""
