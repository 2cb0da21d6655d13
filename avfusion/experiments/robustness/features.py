"""Features of disturbed sound and crops: what a worker does for one condition, on all its tracks."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from avfusion.backbones.extraction import FeatureExtractor
from avfusion.backbones.weights import load_backbone
from avfusion.data.audio import read_audio
from avfusion.data.feature_spec import FeatureSpec
from avfusion.data.frames import FrameTable, decode_crops, encode_crop, read_frames
from avfusion.data.geometry import clip_end_ticks, clock_frames, select_clip_frames
from avfusion.experiments.robustness.disturbed_files import write_disturbed
from avfusion.experiments.robustness.draws import track_random
from avfusion.runtime.stamps import Stamp

JPEG_QUALITY = 95
Features = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class DisturbedTrack:
    """A track of a condition: its name, which with the seed decides noise and places, its frame table, its sound."""

    track: str
    frames: Path
    sound: Path | None


@dataclass(frozen=True)
class ConditionTask:
    """What a worker needs for one condition.

    Attributes:
        kind: of the disturbance, a module of `disturbances`.
        voices: WAVs of other videos, for the babble.
        backbones: folder of both streams' weights.
        spec: the feature spec with the stride wanted, as JSON.
        seed: of noise and places.
        device: where the backbones run.
    """

    kind: str
    level: float
    stream: str
    tracks: tuple[DisturbedTrack, ...]
    voices: tuple[Path, ...]
    backbones: Path
    spec: str
    seed: int
    device: str


def disturbance_module(kind: str) -> str:
    """The module that disturbs, which belongs to the code of the kind's conditions and of no others."""
    return f"avfusion.experiments.robustness.disturbances.{kind}"


def make_condition_file(task: ConditionTask, path: Path, wanted: Stamp) -> None:
    """Write the features of all tracks under a condition to `path`."""
    write_disturbed(path, disturbed_features(task), wanted)


def disturbed_features(task: ConditionTask) -> dict[str, Features]:
    """Features (T, …) of the disturbed stream and its presence (T,), by track; none of a track without the stream."""
    extractor = _extractor(task.backbones, task.spec, task.device)
    module = import_module(disturbance_module(task.kind))
    voices = [read_audio(voice) for voice in task.voices]
    found = {}
    for track in task.tracks:
        if task.stream == "visual":
            found[track.track] = _seen(task, track, module, extractor)
        elif track.sound is not None:
            found[track.track] = _heard(task, track, module, extractor, voices)
    return found


def _place(random: np.random.Generator) -> tuple[float, float]:
    """The first numbers of a track, also where only the following ones are used."""
    return float(random.random()), float(random.random())


def _heard(
    task: ConditionTask, track: DisturbedTrack, module: Any, extractor: FeatureExtractor, voices: Sequence[np.ndarray]
) -> Features:
    if track.sound is None:
        raise ValueError(f"{track.track} has no sound")
    random = track_random(task.seed, track.track)
    _place(random)
    time_s = read_frames(track.frames).time_s
    sound = module.disturb(read_audio(track.sound), task.level, random, voices, extractor.spec.audio.sample_rate)
    features = extractor.extract_track(time_s, [None] * len(time_s), sound)
    return features.audio, features.audio_present


def _seen(task: ConditionTask, track: DisturbedTrack, module: Any, extractor: FeatureExtractor) -> Features:
    table, place = read_frames(track.frames), _place(track_random(task.seed, track.track))
    seen = _seen_frames(table, extractor.spec)
    jpegs = list(table.jpeg)
    for frame, crop in zip(seen, decode_crops([table.jpeg[frame] or b"" for frame in seen]), strict=True):
        jpegs[frame] = encode_crop(module.disturb(crop, task.level, place), JPEG_QUALITY)
    features = extractor.extract_track(table.time_s, jpegs, None)
    return features.visual, features.visual_present


def _seen_frames(table: FrameTable, spec: FeatureSpec) -> list[int]:
    """Frames whose crops the clips of the spec hold: with a wide stride few, and the others need no work."""
    clock = clock_frames(table.time_s, spec.geometry.fps)
    ends = clip_end_ticks(len(clock), spec.stride)
    face = table.face_present[clock]
    ticks, present = select_clip_frames(face, ends, spec.shown.clip_frames, spec.shown.kept_frames)
    return [int(frame) for frame in np.unique(clock[ticks[present]])]


@lru_cache(maxsize=1)  # models are loaded once in each worker
def _extractor(backbones: Path, spec: str, device: str) -> FeatureExtractor:
    parsed = FeatureSpec.model_validate_json(spec)
    visual, _ = load_backbone(backbones, "visual", output=parsed.output)
    audio, _ = load_backbone(backbones, "audio")
    return FeatureExtractor(visual, audio, parsed, device=device)
