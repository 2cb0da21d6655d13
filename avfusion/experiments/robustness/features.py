"""Features of disturbed sound and crops: what a worker does for one track, a stream at a time."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from avfusion.backbones.extraction import FeatureExtractor
from avfusion.backbones.weights import load_backbone
from avfusion.data.audio import read_audio
from avfusion.data.feature_spec import FeatureSpec
from avfusion.data.frames import FrameTable, decode_crops, encode_crop, read_frames
from avfusion.data.geometry import clip_end_ticks, clock_frames, select_clip_frames
from avfusion.experiments.robustness.distortions import add_noise, babble, blur, occlude, shift_sound
from avfusion.scoring.conditions import CONDITIONS, MASKED, Condition

JPEG_QUALITY = 95


@dataclass(frozen=True)
class DisturbedTask:
    """What a worker needs for one track.

    Attributes:
        track: its name, which with `seed` decides noise and places.
        frames: its frame table.
        sound: its video's sound; None without an audio stream.
        voices: WAVs of other videos, for the babble; without any there is none.
        backbones: folder of both streams' weights.
        spec: the feature spec with the stride wanted, as JSON.
        seed: of noise and places.
        device: where the backbones run.
    """

    track: str
    frames: Path
    sound: Path | None
    voices: tuple[Path, ...]
    backbones: Path
    spec: str
    seed: int
    device: str


def track_random(seed: int, track: str) -> np.random.Generator:
    """Random numbers of a track, whatever others there are."""
    return np.random.default_rng([seed, zlib.crc32(track.encode())])


def disturbed_features(task: DisturbedTask) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Features (T, …) float16 of the disturbed stream and its presence (T,), by the condition's name."""
    extractor = _extractor(task.backbones, task.spec, task.device)
    table, random = read_frames(task.frames), track_random(task.seed, task.track)
    place = (float(random.random()), float(random.random()))
    found = {}
    if task.sound is not None:
        sound = read_audio(task.sound)
        noises = {"white_noise": random.standard_normal(len(sound)).astype(np.float32)}
        if task.voices:
            noises["babble"] = babble([read_audio(voice) for voice in task.voices], len(sound))
        blind: list[bytes | None] = [None] * len(table.time_s)
        for condition in _signal_conditions("audio"):
            if condition.kind == "audio_shift":
                heard = shift_sound(sound, condition.level, extractor.spec.audio.sample_rate)
            elif condition.kind in noises:
                heard = add_noise(sound, noises[condition.kind], condition.level)
            else:
                continue
            features = extractor.extract_track(table.time_s, blind, heard)
            found[condition.name] = features.audio, features.audio_present
    seen = _seen_frames(table, extractor.spec)
    crops = decode_crops([table.jpeg[frame] or b"" for frame in seen])
    for condition in _signal_conditions("visual"):
        jpegs = list(table.jpeg)
        for frame, crop in zip(seen, crops, strict=True):
            spoiled = blur(crop, condition.level) if condition.kind == "blur" else occlude(crop, condition.level, place)
            jpegs[frame] = encode_crop(spoiled, JPEG_QUALITY)
        features = extractor.extract_track(table.time_s, jpegs, None)
        found[condition.name] = features.visual, features.visual_present
    return found


def _signal_conditions(stream: str) -> Sequence[Condition]:
    return [one for one in CONDITIONS if one.stream == stream and one.kind not in MASKED]


def _seen_frames(table: FrameTable, spec: FeatureSpec) -> list[int]:
    """Frames whose crops the clips of the spec hold: with a wide stride few, and the others need no work."""
    clock = clock_frames(table.time_s, spec.geometry.fps)
    ends = clip_end_ticks(len(clock), spec.stride)
    face = table.face_present[clock]
    ticks, present = select_clip_frames(face, ends, spec.geometry.clip_frames, spec.geometry.kept_frames)
    return [int(frame) for frame in np.unique(clock[ticks[present]])]


@lru_cache(maxsize=1)  # models are loaded once in each worker
def _extractor(backbones: Path, spec: str, device: str) -> FeatureExtractor:
    parsed = FeatureSpec.model_validate_json(spec)
    visual, _ = load_backbone(backbones, "visual", output=parsed.output)
    audio, _ = load_backbone(backbones, "audio")
    return FeatureExtractor(visual, audio, parsed, device=device)
