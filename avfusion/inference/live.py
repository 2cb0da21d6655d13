"""A video predicted while it is shown: values as they come, and how long they take."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from avfusion.inference.clip_by_clip import ClipCutter, Window
from avfusion.inference.playback import Moment, play
from avfusion.inference.predictor import Predictor
from avfusion.media.time_limits import PROBE_LIMIT_S, decoding_limit_s
from avfusion.media.timeline import read_timeline
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.runtime.workers import Worker, WorkerError


@dataclass(frozen=True)
class LiveValue:
    """A clip's prediction.

    Attributes:
        frame: the video frame that the clip ends at, from 1.
        time_s: its time, from frame 1.
        valence: in [-1, 1].
        arousal: likewise.
        audio_present: the clip has sound.
        visual_present: the clip has a face.
        latency_s: from when the frame was shown to when the value was there.
    """

    frame: int
    time_s: float
    valence: float
    arousal: float
    audio_present: bool
    visual_present: bool
    latency_s: float


@dataclass
class LiveSummary:
    """How a live prediction went.

    Attributes:
        realtime: frames were shown when they were due; else latencies hold the time that frames waited for a clip
            before them.
        period_s: from one clip's end to the next.
        clips: that ended.
        dropped: left out, because the one after them had ended before their turn came.
        latencies_s: of those that were predicted.
        interrupted: it was ended before the video was.
        warnings: what was repaired while reading.
    """

    realtime: bool
    period_s: float
    clips: int = 0
    dropped: int = 0
    latencies_s: list[float] = field(default_factory=list)
    interrupted: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def late(self) -> int:
        """Clips whose value came after the next one's last frame was shown; 0 where frames are not shown when due."""
        return sum(latency > self.period_s for latency in self.latencies_s) if self.realtime else 0

    def latency_s(self, percent: float) -> float | None:
        """A percentile of the latencies; None without any."""
        return float(np.percentile(self.latencies_s, percent)) if self.latencies_s else None


def predict_live(
    predictor: Predictor,
    path: str | Path,
    on_value: Callable[[LiveValue], None],
    *,
    stride: int | None = None,
    realtime: bool = True,
) -> LiveSummary:
    """Predict a video while another process shows it, each clip from the past alone; Ctrl-C ends it early.

    The values are those of `predictor.predict(path, mode="causal")` at the frames that clips end at, but for the
    rounding of sums, where no clip is dropped.

    Args:
        predictor: the model.
        path: a local media file.
        on_value: called with each clip's prediction, as soon as there is one.
        stride: ticks between clips; default: that of the model's features.
        realtime: show frames when they are due. Clips that wait for longer than it takes to the next one are dropped.
            Else: as fast as they are predicted, and none is dropped.

    Raises:
        BadInputError: not a readable video; it has neither a face nor sound; or the stride is none of the model's.
        AVFusionError: the process that shows it died or hangs; or features are not finite.
    """
    watcher = _Watcher(predictor, stride, on_value, realtime)
    worker = Worker()
    try:
        timeline = worker.call(read_timeline, path, limit_s=PROBE_LIMIT_S)
        watcher.summary.period_s = watcher.stride / (predictor.spec.geometry.fps or timeline.fps)
        limit_s = decoding_limit_s(timeline.end_s)
        arguments = (path, timeline, predictor.frames, realtime)
        watcher.summary.warnings = worker.call(play, *arguments, limit_s=limit_s, report=watcher.shown)
    except KeyboardInterrupt:
        watcher.summary.interrupted = True
    except WorkerError as error:
        raise AVFusionError(f"{path}: {error}") from None
    finally:
        worker.stop()
    if not (watcher.summary.latencies_s or watcher.summary.interrupted):
        raise BadInputError(f"{path}: no clip of it has a face or sound, so there is nothing to predict from")
    return watcher.summary


class _Watcher:
    """Predicts the clips of a video from its frames."""

    def __init__(
        self, predictor: Predictor, stride: int | None, on_value: Callable[[LiveValue], None], realtime: bool
    ) -> None:
        spec = predictor.spec_at(stride)
        self.stride = spec.stride
        self.summary = LiveSummary(realtime, period_s=0.0)
        self._cutter, self._clips, self._on_value = ClipCutter(spec), predictor.clip_predictor(spec), on_value

    def shown(self, moment: Moment) -> None:
        """Take in the next frame."""
        for window in self._cutter.push(moment):
            self.summary.clips += 1
            if self.summary.realtime and time.monotonic() - moment.sent_at > self.summary.period_s:
                self.summary.dropped += 1
                self._clips.skip()
            else:
                self._predict(window)

    def _predict(self, window: Window) -> None:
        value = self._clips.predict(window)
        if value.values is None:
            return
        latency_s = time.monotonic() - window.last.shown_at
        self.summary.latencies_s.append(latency_s)
        valence, arousal = (float(number) for number in value.values)
        present = value.audio_present, value.visual_present
        self._on_value(LiveValue(window.last.frame, window.last.time_s, valence, arousal, *present, latency_s))
