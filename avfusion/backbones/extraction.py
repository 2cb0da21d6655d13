"""Extract the features of a track, clip by clip, from crops and sound, for the stage `features` and for `predict`.

Apart from the features, memory does not grow with the length of a track: crops and sound are read as the clips advance.
A crop is decoded, moved to the device and normalised once, although up to 32 clips show it: the device holds the crops
of one batch of clips, and clips are gathered there. Reading, decoding and spectrograms run in a thread beside the
backbones.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from copy import copy

import numpy as np
import torch
from torch import Tensor

from avfusion.backbones.frozen import arithmetic, freeze, memory_format
from avfusion.backbones.load_ahead import load_ahead, to_device
from avfusion.backbones.registry import Backbone
from avfusion.data.audio import Sound, cut_sound
from avfusion.data.feature_spec import FeatureSpec
from avfusion.data.features import FeatureTable
from avfusion.data.frames import Crops, decode_crops
from avfusion.data.geometry import clip_end_ticks, clip_sound_spans, clock_frames, select_clip_frames
from avfusion.data.transforms import LogMel, downscale, normalise_crops
from avfusion.runtime.errors import AVFusionError

PCM_SCALE = np.float32(32768)


class FeatureExtractor:
    """Runs both backbones over the clips of a track by a feature spec.

    Clips are processed in batches of the spec's size and of one shape, the last one filled up; batches never cross
    tracks. So a clip's feature depends on that clip alone, to the bit.

    Raises:
        AVFusionError: a backbone is not the one named in the spec.
    """

    def __init__(self, visual: Backbone, audio: Backbone, spec: FeatureSpec, *, device: str = "cpu") -> None:
        for backbone in (visual, audio):
            identity = spec.backbones[backbone.stream]  # type: ignore[index]
            mine = (backbone.name, backbone.width, backbone.input_size, backbone.feature_dim)
            if mine != (identity.name, identity.width, identity.input_size, identity.feature_dim):
                raise AVFusionError(f"the {backbone.stream} backbone is {mine}: the feature spec names {identity}")
        if visual.output != spec.output:
            raise AVFusionError(f"the visual backbone gives {visual.output} features, the feature spec {spec.output}")
        self.spec = spec
        self.device = torch.device(device)
        self.dtype = arithmetic(spec.dtype, self.device)
        self._shapes = {backbone.stream: backbone.feature_shape for backbone in (visual, audio)}
        self._networks = {backbone.stream: freeze(backbone, self.device, self.dtype) for backbone in (visual, audio)}
        self._log_mel = LogMel(spec.audio).to(self.device)

    def one_by_one(self) -> "FeatureExtractor":
        """The same networks for clips one at a time, without filling batches up to the spec's size.

        Features differ from those of a full batch by the rounding of float32 sums (a relative 1e-6).
        """
        alone = copy(self)
        alone.spec = self.spec.model_copy(update={"batch_size": 1})
        return alone

    def extract_track(
        self,
        time_s: np.ndarray,
        crops: Crops,
        sound: Sound | None,
        *,
        stride: int | None = None,
    ) -> FeatureTable:
        """Features of every clip of one track.

        Args:
            time_s: (N,) seconds of every video frame, 0 at the first.
            crops: of N frames.
            sound: sound at the spec's rate, sample 0 at the time of the first frame; None: no audio stream.
            stride: ticks between clips; default: the spec's stride.
        """
        spec = self.spec if stride is None else self.spec.model_copy(update={"stride": stride})
        time_s, geometry = np.asarray(time_s), spec.geometry
        clock = clock_frames(time_s, geometry.fps)
        ends = clip_end_ticks(len(clock), spec.stride)
        spans = clip_sound_spans(
            time_s[clock] if len(clock) else np.zeros(0),
            ends,
            clip_frames=geometry.clip_frames,
            sample_rate=spec.audio.sample_rate,
            window_s=spec.audio.window_s,
        )
        visual, visual_present = self.visual_clips(crops, ends, clock, kind=np.float16)
        audio, audio_present = self.audio_clips(sound, spans, kind=np.float16)
        return FeatureTable(
            clip_end=(clock[ends] + 1).astype(np.int32),
            audio=audio,
            visual=visual,
            audio_present=audio_present,
            visual_present=visual_present,
            feature_spec=spec,
        )

    def visual_clips(
        self, crops: Crops, ends: np.ndarray, clock: np.ndarray | None = None, *, kind: type = np.float32
    ) -> tuple[np.ndarray, np.ndarray]:
        """Features (T, D[, H, W]) of the clips that end at the ticks `ends` (T,), and presence (T,).

        Args:
            crops: of N frames.
            ends: ticks at which the clips end, ascending.
            clock: (K,) frame of each tick; default: every frame is a tick.
            kind: type of the features.

        Raises:
            AVFusionError: a crop cannot be decoded (the frame store should hold only crops that can).
        """
        window, transform = self.spec.shown, self.spec.visual
        face = np.array([crops[row] is not None for row in range(len(crops))], dtype=bool)
        clock = np.arange(len(face)) if clock is None else clock
        ticks, present = select_clip_frames(face[clock], ends, window.clip_frames, window.kept_frames)
        # The crops shown by any clip, in order, and the positions among them of each present clip's crops.
        shown, places = np.unique(clock[ticks[present]], return_inverse=True)
        clips, places = np.flatnonzero(present), places.reshape(-1, window.kept_frames)
        batches = _batches(np.arange(len(clips)), self.spec.batch_size)
        first, behind = _held_range([places[batch] for batch in batches])

        def load(number: int) -> Tensor:
            new = shown[behind[number - 1] if number else 0 : behind[number]]
            pixels = downscale(decode_crops([crops[row] or b"" for row in new.tolist()]), transform.input_size)
            return normalise_crops(to_device(pixels, self.device), transform).to(self.dtype)

        held, start = torch.empty(0), 0

        def clips_of(number: int, new: Tensor) -> Tensor:
            """Channels first by strides only: in memory crops keep their channels last, as convolutions prefer."""
            nonlocal held, start
            held = torch.cat([held[first[number] - start :], new]) if number else new
            start = first[number]
            chosen = places[_filled(batches[number], self.spec.batch_size)] - start
            return held[to_device(chosen, self.device)].permute(0, 4, 1, 2, 3)

        features = self._features("visual", load, clips_of, [clips[batch] for batch in batches], len(ends), kind)
        return features, present

    def audio_clips(
        self, sound: Sound | None, spans: np.ndarray, *, kind: type = np.float32
    ) -> tuple[np.ndarray, np.ndarray]:
        """Features (T, D) and presence (T,) of clips with the given spans (T, 2) in samples.

        A clip is absent if it has no sound at all: no stream, or a stream that ended before the clip.
        """
        transform = self.spec.audio
        samples = 0 if sound is None else len(sound)
        present = spans[:, 0] < samples
        shortest = transform.min_samples
        if transform.window_s is not None:
            shortest = max(shortest, round(transform.window_s * transform.sample_rate))
        # Batches hold clips of equally long spectrograms, so nothing is padded.
        steps = np.maximum(spans[:, 1] - spans[:, 0], shortest) // transform.hop_length
        groups = [np.flatnonzero(present & (steps == step)) for step in np.unique(steps[present])]
        batches = [batch for group in groups for batch in _batches(group, self.spec.batch_size)]

        def load(number: int) -> Tensor:
            assert sound is not None
            chosen = spans[batches[number]].tolist()
            return self._spectrograms([_cut(sound, start, stop, shortest) for start, stop in chosen])

        def clips_of(number: int, spectrograms: Tensor) -> Tensor:
            chosen = _filled(np.arange(len(spectrograms)), self.spec.batch_size)
            return spectrograms[to_device(chosen, self.device)]

        return self._features("audio", load, clips_of, batches, len(spans), kind), present

    def _spectrograms(self, pieces: Sequence[np.ndarray]) -> Tensor:
        """Spectrograms (B, 1, bands, T) of sounds that differ in length by less than a step of T."""
        alone = (
            self.device.type == "cpu" or len({len(piece) for piece in pieces}) > 1
        )  # a single one fits a CPU's cache
        parts = [piece[None] for piece in pieces] if alone else [np.stack(pieces)]
        return torch.cat([self._log_mel(to_device(part, self.device)) for part in parts]).to(self.dtype)

    def _features(
        self,
        stream: str,
        load: Callable[[int], Tensor],
        clips_of: Callable[[int, Tensor], Tensor],
        batches: Sequence[np.ndarray],
        clips: int,
        kind: type,
    ) -> np.ndarray:
        """Features of all clips; `clips_of(n, load(n))` gives the clips of batch n, filled up; other rows stay zero."""
        features: np.ndarray = np.zeros((clips, *self._shapes[stream]), dtype=kind)
        computed: tuple[np.ndarray, Tensor] | None = None  # fetched once the device is busy with the next batch
        with (
            torch_threads(self.spec.threads),
            torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False),  # float32 is float32
            closing(load_ahead(load, range(len(batches)), self.device)) as loaded,
        ):
            for number, values in loaded:
                with torch.inference_mode():
                    inputs = clips_of(number, values).contiguous(memory_format=memory_format(stream))
                    output = self._networks[stream](inputs)
                if computed is not None:
                    _store(features, *computed)
                computed = batches[number], output
            if computed is not None:
                _store(features, *computed)
        return features


def _batches(clips: np.ndarray, size: int) -> list[np.ndarray]:
    return [clips[start : start + size] for start in range(0, len(clips), size)]


def _filled(batch: np.ndarray, size: int) -> np.ndarray:
    """The batch filled up with its first clip."""
    return np.concatenate([batch, np.repeat(batch[:1], size - len(batch))])


def _held_range(places: Sequence[np.ndarray]) -> tuple[list[int], list[int]]:
    """First and end of the range of crops held during each batch: those that it or a later batch shows."""
    first = np.array([batch.min() for batch in places], dtype=np.int64)
    last = np.array([batch.max() for batch in places], dtype=np.int64)
    return np.minimum.accumulate(first[::-1])[::-1].tolist(), (np.maximum.accumulate(last) + 1).tolist()


def _cut(sound: Sound, start: int, stop: int, min_samples: int) -> np.ndarray:
    """As `cut_sound`, in [-1, 1] also for 16-bit integers."""
    piece = cut_sound(sound, start, stop, min_samples=min_samples)
    return piece / PCM_SCALE if sound[0:0].dtype == np.int16 else piece


def _store(features: np.ndarray, clips: np.ndarray, output: Tensor) -> None:
    features[clips] = output[: len(clips)].float().cpu().numpy()


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Fix torch's number of threads inside the block, since it decides how sums are split."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
