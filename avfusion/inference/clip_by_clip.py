"""Predict clips one by one as they end, from the past alone: mode `causal`, live."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from avfusion.backbones.extraction import FeatureExtractor
from avfusion.data.feature_spec import FeatureSpec
from avfusion.data.features import refuse_not_finite
from avfusion.data.geometry import clip_sound_spans, clips_apart
from avfusion.fusion.base import FusionModel
from avfusion.fusion.inference import predict_latest
from avfusion.inference.playback import Moment
from avfusion.runtime.errors import AVFusionError, UnusableModelError
from avfusion.runtime.forks import works_after_fork

_TICK_TOLERANCE = 1e-3  # as in `avfusion.data.geometry.clock_frames`
_TIE_S = 1e-9


@contextmanager
def overflow_refused(model: str) -> Iterator[None]:
    """In the block, features or predictions that are not finite refuse the model by name.

    Args:
        model: its source, for people.

    Raises:
        UnusableModelError: they are not finite.
    """
    try:
        yield
    except AVFusionError as error:
        raise UnusableModelError(f"model {model} cannot be used, since its weights overflow: {error}") from None


@dataclass(frozen=True)
class Window:
    """A completed clip.

    Attributes:
        crops: crops of its ticks, at most the length of a clip.
        sound: int16 samples that include the clip's span.
        span: (1, 2) start and end of the clip in `sound`.
    """

    last: Moment
    crops: list[bytes | None]
    sound: np.ndarray
    span: np.ndarray


class ClipCutter:
    """Cuts clips from incoming frames, by the clock of a feature spec."""

    def __init__(self, spec: FeatureSpec) -> None:
        self._spec = spec
        self._ticks: deque[Moment] = deque(maxlen=spec.geometry.clip_frames)
        self._count = 0
        self._before: Moment | None = None
        self._sound = np.zeros(0, np.int16)
        self._sound_start = 0  # number of the first sample held

    def push(self, moment: Moment) -> list[Window]:
        """Add the next frame; return the clips that it completes."""
        self._sound = np.concatenate([self._sound, moment.sound])
        ended = [window for frame in self._new_ticks(moment) if (window := self._tick(frame)) is not None]
        self._before = moment
        return ended

    def _new_ticks(self, moment: Moment) -> list[Moment]:
        """The nearest frame for each tick of the clock that is due with this frame."""
        fps = self._spec.geometry.fps
        if fps is None:
            return [moment]
        found: list[Moment] = []
        while (self._count + len(found)) / fps <= moment.time_s + _TICK_TOLERANCE / fps:
            tick_s, before = (self._count + len(found)) / fps, self._before
            is_before = before is not None and tick_s - before.time_s <= moment.time_s - tick_s + _TIE_S
            found.append(before if is_before and before is not None else moment)
        return found

    def _tick(self, frame: Moment) -> Window | None:
        spec = self._spec
        self._ticks.append(frame)
        self._count += 1
        if (self._count - 1) % spec.stride:
            return None
        span = clip_sound_spans(
            np.array([tick.time_s for tick in self._ticks]),
            np.array([len(self._ticks) - 1]),
            clip_frames=spec.geometry.clip_frames,
            sample_rate=spec.audio.sample_rate,
            window_s=spec.audio.window_s,
        )
        self._forget(int(span[0, 0]))
        return Window(frame, [tick.jpeg for tick in self._ticks], self._sound, span - self._sound_start)

    def _forget(self, sample: int) -> None:
        """Drop the sound before a sample, which later clips do not need."""
        gone = min(sample - self._sound_start, len(self._sound))
        self._sound, self._sound_start = self._sound[gone:], self._sound_start + gone


@dataclass(frozen=True)
class ClipValue:
    """The prediction at the end of a clip.

    Attributes:
        values: (2,) float32 valence and arousal in [-1, 1]; None: neither stream has been present so far.
    """

    values: np.ndarray | None
    audio_present: bool
    visual_present: bool


class ClipPredictor:
    """Predicts the clips of one video in order.

    Args:
        spacing: ticks between neighbours in the model's sequences.
        source: name of the model for people.
    """

    def __init__(
        self, extractor: FeatureExtractor, model: FusionModel, spec: FeatureSpec, spacing: int, source: str
    ) -> None:
        apart, self._spacing = clips_apart(spec.stride, spacing), spacing
        self._source = source
        self._extractor, self._model, self._spec = extractor.one_by_one(), model, spec
        self._device = next(model.parameters()).device
        self._past: deque[tuple[np.ndarray, np.ndarray, bool, bool]] = deque(maxlen=(model.length - 1) * apart + 1)
        self._values: np.ndarray | None = None

    @works_after_fork
    def predict(self, window: Window) -> ClipValue:
        """Predict the next clip; a clip with neither stream gets the values of the clip before.

        Raises:
            UnusableModelError: features or predictions are not finite.
        """
        end = np.array([len(window.crops) - 1])
        visual, seen = self._extractor.visual_clips(window.crops, end, kind=np.float16)
        audio, heard = self._extractor.audio_clips(window.sound, window.span, kind=np.float16)
        with overflow_refused(self._source):
            refuse_not_finite(audio, visual, "this video")
        self._past.append((audio[0], visual[0], bool(heard[0]), bool(seen[0])))
        if heard[0] or seen[0]:
            self._model.eval()
            with overflow_refused(self._source):
                latest = predict_latest(self._model, *self._tensors(), stride=self._spec.stride, spacing=self._spacing)
            self._values = np.clip(latest, -1, 1)
        return ClipValue(self._values, bool(heard[0]), bool(seen[0]))

    def skip(self) -> None:
        """Skip the next clip; later clips see it as a clip with neither stream."""
        if self._past:
            audio, visual, _, _ = self._past[-1]
            self._past.append((np.zeros_like(audio), np.zeros_like(visual), False, False))

    def _tensors(self) -> list[torch.Tensor]:
        return [torch.from_numpy(np.stack(column)).to(self._device) for column in zip(*self._past, strict=True)]
