"""Features of a track, clip by clip, from crops and sound: the same code for the features stage and for predict."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from avfusion.backbones.registry import Backbone
from avfusion.backbones.transforms import LogMel, downscale, normalise_clips
from avfusion.data.feature_spec import FeatureSpec
from avfusion.data.features import FeatureTable
from avfusion.data.frames import decode_crops
from avfusion.data.geometry import clip_end_ticks, clip_sound_spans, clock_frames, select_clip_frames
from avfusion.errors import AVFusionError

Loader = Callable[[np.ndarray], Tensor]


def cut_sound(waveform: np.ndarray, start: int, stop: int, *, min_samples: int) -> np.ndarray:
    """Samples [start, stop) of (samples,) sound; zeros behind its end, and before it up to `min_samples`."""
    piece = waveform[start:stop].astype(np.float32)
    right = (stop - start) - len(piece)
    return np.pad(piece, (max(min_samples - (stop - start), 0), right))


class FeatureExtractor:
    """Runs both backbones over a track's clips by a feature spec.

    Clips go through in batches of the spec's size, all of one shape, the last one filled up; batches never cross
    tracks. So a clip's feature depends on that clip alone, to the bit.

    Raises:
        AVFusionError: a backbone is not the one that the spec names.
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
        self.visual = visual.to(self.device).eval()
        self.audio = audio.to(self.device).eval()
        self.log_mel = LogMel(spec.audio).to(self.device)

    def extract_track(
        self,
        time_s: np.ndarray,
        jpegs: Sequence[bytes | None],
        waveform: np.ndarray | None,
        *,
        fingerprint: str = "",
    ) -> FeatureTable:
        """Features of every clip of one track.

        Args:
            time_s: (N,) seconds of every video frame, 0 at the first.
            jpegs: N encoded face crops, None where there is no face.
            waveform: (samples,) in [-1, 1], sample 0 at the time of the first frame; None: no audio stream.
        """
        geometry, spec = self.spec.geometry, self.spec
        clock = clock_frames(time_s, geometry.fps)
        ends = clip_end_ticks(len(clock), spec.stride)
        with torch_threads(spec.threads):
            visual, visual_present = self.visual_clips([jpegs[frame] for frame in clock], ends)
            spans = clip_sound_spans(
                self._clock_times(np.asarray(time_s), clock),
                ends,
                clip_frames=geometry.clip_frames,
                sample_rate=spec.audio.sample_rate,
                window_s=spec.audio.window_s,
            )
            audio, audio_present = self.audio_clips(waveform, spans)
        return FeatureTable(
            clip_end=(clock[ends] + 1).astype(np.int32),
            audio=audio.astype(np.float16),
            visual=visual.astype(np.float16),
            audio_present=audio_present,
            visual_present=visual_present,
            feature_spec=spec,
            fingerprint=fingerprint,
        )

    def visual_clips(self, jpegs: Sequence[bytes | None], ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Crops of the clock's K ticks and clip ends (T,) → features (T, D[, H, W]) float32 and presence (T,).

        Raises:
            AVFusionError: a crop cannot be decoded; the frame store holds only crops that can.
        """
        geometry, size = self.spec.geometry, self.spec.visual.input_size
        face = np.array([jpeg is not None for jpeg in jpegs], dtype=bool)
        frames, present = select_clip_frames(face, ends, geometry.clip_frames, geometry.kept_frames)
        decoded: dict[int, np.ndarray] = {}  # of the last batch, whose clips overlap with the next one's

        def load(clips: np.ndarray) -> Tensor:
            nonlocal decoded
            needed = np.unique(frames[clips]).tolist()
            new = [tick for tick in needed if tick not in decoded]
            crops = downscale(decode_crops([jpegs[tick] or b"" for tick in new]), size)
            decoded = {tick: crop for tick, crop in decoded.items() if tick in needed} | dict(
                zip(new, crops, strict=True)
            )
            pixels = np.stack([[decoded[tick] for tick in frames[clip].tolist()] for clip in clips])
            return normalise_clips(torch.from_numpy(pixels).to(self.device), self.spec.visual)

        return self._features(self.visual, load, [np.flatnonzero(present)], len(ends)), present

    def audio_clips(self, waveform: np.ndarray | None, spans: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sound and the clips' spans (T, 2) in samples → features (T, D) float32 and presence (T,).

        A clip is absent where there is no sound at all: no stream, or the stream ended before the clip began.
        """
        if waveform is None:
            return self._features(self.audio, lambda clips: Tensor(), [], len(spans)), np.zeros(len(spans), dtype=bool)
        sound = waveform
        transform = self.spec.audio
        present = spans[:, 0] < len(sound)
        shortest = transform.min_samples
        if transform.window_s is not None:
            shortest = max(shortest, round(transform.window_s * transform.sample_rate))
        length = np.maximum(spans[:, 1] - spans[:, 0], shortest)
        steps = length // transform.hop_length
        groups = [np.flatnonzero(present & (steps == step)) for step in np.unique(steps[present])]

        def load(clips: np.ndarray) -> Tensor:
            # Equal numbers of spectrogram frames can come from slightly unequal lengths, whose edges differ.
            pieces = [cut_sound(sound, *spans[clip].tolist(), min_samples=shortest) for clip in clips]
            if len({len(piece) for piece in pieces}) == 1:
                return self.log_mel(torch.from_numpy(np.stack(pieces)).to(self.device))
            return torch.cat([self.log_mel(torch.from_numpy(piece)[None].to(self.device)) for piece in pieces])

        return self._features(self.audio, load, groups, len(spans)), present

    def _features(self, backbone: Backbone, load: Loader, groups: Sequence[np.ndarray], clips: int) -> np.ndarray:
        """Run clips, group by group, through a backbone; rows of clips in no group are zero."""
        shape: tuple[int, ...] = (backbone.feature_dim,)
        if backbone.output == "map":
            shape = (backbone.feature_dim, backbone.map_side, backbone.map_side)
        features = np.zeros((clips, *shape), dtype=np.float32)
        size = self.spec.batch_size
        dtype = getattr(torch, self.spec.dtype)
        for group in groups:
            for start in range(0, len(group), size):
                chosen = group[start : start + size]
                filled = np.concatenate([chosen, np.repeat(chosen[:1], size - len(chosen))])
                with (
                    torch.inference_mode(),
                    torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not torch.float32),
                ):
                    output = backbone(load(filled))
                features[chosen] = output[: len(chosen)].float().cpu().numpy()
        return features

    @staticmethod
    def _clock_times(time_s: np.ndarray, clock: np.ndarray) -> np.ndarray:
        return time_s[clock] if len(clock) else np.zeros(0)


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Let torch compute with exactly this many threads inside the block, since sums are split by their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
