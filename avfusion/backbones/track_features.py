"""A worker's task: make a track's feature file from its frames and sound."""

from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from avfusion.backbones.extraction import FeatureExtractor
from avfusion.backbones.weights import load_backbone
from avfusion.data.audio import AudioFile
from avfusion.data.feature_spec import FeatureSpec
from avfusion.data.features import write_features
from avfusion.data.frames import CropFile, read_frame_times
from avfusion.runtime.stamps import Stamp


@dataclass(frozen=True)
class FeatureTask:
    """A worker's input for one track's features.

    Attributes:
        out_of_fold: SHA-256 of a fold's weights by stream; empty for the backbones of all training tracks.
        spec: the feature spec as JSON, by which a worker keeps its models.
    """

    track: str
    frames: Path
    sound: Path | None
    backbones: Path
    spec: str
    device: str = "cpu"
    out_of_fold: dict[str, str] | None = None


def make_feature_file(task: FeatureTask, path: Path, wanted: Stamp) -> None:
    """Write one track's feature file to `path`."""
    extractor = _extractor(task.backbones, task.spec, task.device, tuple((task.out_of_fold or {}).items()))
    times = read_frame_times(task.frames)
    with CropFile(task.frames) as crops, nullcontext() if task.sound is None else AudioFile(task.sound) as sound:
        table = extractor.extract_track(times, crops, sound)
    write_features(path, replace(table, out_of_fold=task.out_of_fold), wanted)


@lru_cache(maxsize=1)  # models are loaded once in each worker
def _extractor(backbones: Path, spec: str, device: str, out_of_fold: tuple[tuple[str, str], ...]) -> FeatureExtractor:
    """The extractor with the weights in a folder, identified by the spec unless they belong to a fold."""
    parsed = FeatureSpec.model_validate_json(spec)
    visual, _ = load_backbone(backbones, "visual", output=parsed.output)
    audio, _ = load_backbone(backbones, "audio")
    return FeatureExtractor(visual, audio, parsed, device=device)
