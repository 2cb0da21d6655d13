"""Predict a video while it is shown, and measure the latency."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from avfusion.inference.clip_by_clip import ClipCutter, Window
from avfusion.inference.playback import Moment, play
from avfusion.inference.predictor import Predictor
from avfusion.media.audio_timeline import read_any_timeline
from avfusion.media.time_limits import PROBE_LIMIT_S, decoding_limit_s
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.runtime.workers import Worker, WorkerError


@dataclass(frozen=True)
class LiveValue:
    """A clip's prediction.

    Attributes:
        latency_s: seconds from showing the frame to the value.
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
    """Summary of a live prediction.

    Attributes:
        realtime: frames were shown when due; else latencies include the time that frames waited for earlier clips.
        dropped: clips skipped because the next one ended before their turn.
        interrupted: the prediction was stopped before the end of the video.
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
        """Number of clips whose value came after the end of the next clip; 0 unless `realtime`."""
        return sum(latency > self.period_s for latency in self.latencies_s) if self.realtime else 0

    def latency_s(self, percent: float) -> float | None:
        """A percentile of the latencies; None without latencies."""
        return float(np.percentile(self.latencies_s, percent)) if self.latencies_s else None


def predict_live(
    predictor: Predictor,
    path: str | Path,
    on_value: Callable[[LiveValue], None],
    *,
    stride: int | None = None,
    realtime: bool = True,
    audio_track: int | None = None,
) -> LiveSummary:
    """Predict a video while another process shows it, each clip from the past alone; Ctrl-C ends it early.

    If no clip is dropped, the values equal those of `predictor.predict(path, mode="causal")` at the last frames of
    clips, up to rounding of sums.

    Args:
        on_value: called with each clip's prediction at once.
        stride: ticks between clips; default: the stride of the model's features.
        realtime: show frames when due, and drop clips that wait until the next one has ended. Otherwise show frames as
            fast as they are predicted, and drop none.
        audio_track: number of the audio track to hear, from 1; default: as for `Predictor.analyse`.

    Raises:
        BadInputError: the video cannot be read, has no such audio track, has neither a face nor sound, or `stride` does
            not suit the model.
        UnusableModelError: features or predictions are not finite.
        AVFusionError: the process that shows the video died or hangs.
    """
    watcher = _Watcher(predictor, stride, on_value, realtime)
    worker = Worker()
    try:
        timeline = worker.call(partial(read_any_timeline, audio_track=audio_track), path, limit_s=PROBE_LIMIT_S)
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
        """Add the next frame."""
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
