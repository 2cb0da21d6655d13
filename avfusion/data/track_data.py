"""One track in memory for fusion: features per clip, times and labels per frame."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from avfusion.corpora.table import Track
from avfusion.data.feature_spec import FeatureSpec
from avfusion.data.features import feature_shapes, read_features, read_stamp
from avfusion.data.frames import read_frame_times
from avfusion.data.geometry import clip_end_ticks, clock_frames, frame_positions
from avfusion.data.labels import frame_labels
from avfusion.data.settings import GeometrySettings
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.runtime.fingerprints import arrays_digest, fingerprint


@dataclass(frozen=True)
class TrackData:
    """Features and labels of one track.

    Attributes:
        video: its base video; tracks of one video share their sound.
        clip_ticks: (T,) clock ticks at which the clips end.
        audio: (T, D_a) features as stored (float16 or float32).
        visual: (T, D_v) or (T, C, H, W), likewise; maps of a stored track are memory-mapped.
        time_s: (N,) seconds of every video frame, 0 at the first.
        frame_ticks: (N,) position of every video frame on the clock.
        target_frames: (T,) 0-based frame of each clip's target label; -1: outside the video.
        fingerprint: digest of the contents of its features and frame times (`inputs_digest`).
        group: tracks of one group stay together, in folds and where an interval leaves groups out; default: the video.
    """

    track: str
    video: str
    split: str
    clip_ticks: np.ndarray
    audio: np.ndarray
    visual: np.ndarray
    audio_present: np.ndarray
    visual_present: np.ndarray
    time_s: np.ndarray
    frame_ticks: np.ndarray
    target_frames: np.ndarray
    labels: np.ndarray
    valid: np.ndarray
    feature_spec: FeatureSpec | None = None
    fingerprint: str = ""
    group: str = ""

    def __post_init__(self) -> None:
        """Give a track without group that of its video alone."""
        object.__setattr__(self, "group", self.group or self.video)


def feature_path(root: Path, track: str) -> Path:
    """The feature file of a track."""
    return root / "data" / "features" / f"{track}.safetensors"


def _frames_path(root: Path, track: str) -> Path:
    return root / "data" / "frames" / f"{track}.parquet"


def load_track(root: Path, track: Track, geometry: GeometrySettings) -> TrackData:
    """Read a track's features, frame times and labels from the stores below `root`.

    Raises:
        BadInputError: the features are missing.
        AVFusionError: the features are unreadable, or belong to other frames or another geometry.
    """
    path = feature_path(root, track.track)
    if not path.is_file():
        raise BadInputError(f"{path} is missing: run the stage `features`")
    stored = read_features(path)
    stride = stored.feature_spec.stride
    time_s = read_frame_times(_frames_path(root, track.track))
    clock = clock_frames(time_s, geometry.fps)
    ticks = clip_end_ticks(len(clock), stride)
    if not np.array_equal(stored.clip_end, clock[ticks] + 1):
        raise AVFusionError(
            f"{path}: its {len(stored.clip_end)} clips are not the {len(ticks)} that the frames of {track.track} "
            f"give with stride {stride} and geometry.fps {geometry.fps}: run the stage `features` again"
        )
    target = ticks + geometry.target_offset
    inside = (target >= 0) & (target < len(clock))
    target_frames = np.where(inside, clock[np.clip(target, 0, max(len(clock) - 1, 0))], -1)
    labels, valid = frame_labels(root / "data" / "labels" / f"{track.track}.parquet", len(time_s))
    return TrackData(
        track=track.track,
        video=track.video,
        split=track.split,
        clip_ticks=ticks,
        audio=stored.audio,
        visual=stored.visual,
        audio_present=stored.audio_present,
        visual_present=stored.visual_present,
        time_s=time_s,
        frame_ticks=frame_positions(time_s, geometry.fps),
        target_frames=target_frames,
        labels=labels,
        valid=valid,
        feature_spec=stored.feature_spec,
        fingerprint=_inputs_digest(stored.content, time_s),
        group=track.group,
    )


def inputs_digest(root: Path, track: Track) -> str:
    """Digest of a stored track's features and of the times of its frames; reads no feature.

    Raises:
        AVFusionError: a file is missing or of another kind.
    """
    stamp = read_stamp(feature_path(root, track.track))
    return _inputs_digest(stamp.content if stamp else "", read_frame_times(_frames_path(root, track.track)))


def _inputs_digest(features: str, time_s: np.ndarray) -> str:
    return fingerprint(features=features, times=arrays_digest({"time_s": time_s}))


def load_split(root: Path, tracks: Sequence[Track], split: str, geometry: GeometrySettings) -> list[TrackData]:
    """All tracks of a split that have features, in the order of the table (a track may have been skipped).

    Their features are views of one array per stream, so that all of them together need no second copy; maps stay in
    their files.
    """
    chosen = [track for track in tracks if track.split == split and feature_path(root, track.track).is_file()]
    shapes = [feature_shapes(feature_path(root, track.track)) for track in chosen]
    loaded: list[TrackData] = []
    blocks: dict[str, np.ndarray] = {}
    start = 0
    for track in chosen:
        one = load_track(root, track, geometry)
        stop = start + len(one.clip_ticks)
        parts = {}
        for stream in ("audio", "visual"):
            features: np.ndarray = getattr(one, stream)
            if features.ndim > 2:
                parts[stream] = features
                continue
            if stream not in blocks:
                blocks[stream] = np.empty((sum(s[stream][0] for s in shapes), *features.shape[1:]), features.dtype)
            parts[stream] = blocks[stream][start:stop]
            if parts[stream].shape != features.shape:  # of another spec, which is refused where one spec is needed
                parts[stream] = features
            else:
                parts[stream][:] = features
        one = replace(one, audio=parts["audio"], visual=parts["visual"])
        loaded.append(one)
        start = stop
    return loaded
