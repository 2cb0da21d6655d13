"""Predictions of all models for one track, frame by frame, beside its labels; one Parquet file per track."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from avfusion.runtime.atomic import atomic_path
from avfusion.runtime.errors import AVFusionError

TARGETS = ("valence", "arousal")


@dataclass(frozen=True)
class TrackPredictions:
    """Predictions and labels of one track's N video frames.

    Attributes:
        track, video, split: names.
        time_s: (N,) seconds, 0 at the first frame.
        labels: (N, 2) valence and arousal, 0 where not valid.
        presence: (N, 2) bool, audio and visual stream.
        predictions: (N, 2) in [-1, 1] by model or oracle.
        conditions: (N,) bool by name: frames in which a stream is known to carry no information (demo corpus).
        features: fingerprint of the features behind the predictions.
        group: intervals leave out whole groups; default: the video.
    """

    track: str
    video: str
    split: str
    time_s: np.ndarray
    labels: np.ndarray
    valid: np.ndarray
    presence: np.ndarray
    predictions: dict[str, np.ndarray]
    conditions: dict[str, np.ndarray] = field(default_factory=dict)
    features: str = ""
    group: str = ""

    def __post_init__(self) -> None:
        """Give a track without group that of its video alone."""
        object.__setattr__(self, "group", self.group or self.video)


def with_predictions(
    entries: Sequence[TrackPredictions], name: str, values: Sequence[np.ndarray]
) -> list[TrackPredictions]:
    """The tracks with one more model's predictions, (N, 2) for each track."""
    return [
        replace(entry, predictions=entry.predictions | {name: value})
        for entry, value in zip(entries, values, strict=True)
    ]


def write_track_predictions(path: Path, track: TrackPredictions, main: str) -> None:
    """Write one row per video frame.

    Columns: frame int32 (from 1), time_s float64, valence and arousal float32 in [-1, 1] (of the model `main`,
    unsmoothed), true_valence and true_arousal float32 (null where not valid), valid, audio_present and visual_present
    bool, then `<model>_valence` and `<model>_arousal` of every other model and oracle. The metadata key `avfusion`
    holds the fingerprint of the features.
    """
    columns: dict[str, pa.Array] = {
        "frame": pa.array(np.arange(1, len(track.time_s) + 1, dtype=np.int32)),
        "time_s": pa.array(track.time_s),
    }
    columns |= {name: pa.array(track.predictions[main][:, c]) for c, name in enumerate(TARGETS)}
    columns |= {
        f"true_{name}": pa.array(track.labels[:, c].astype(np.float32), mask=~track.valid)
        for c, name in enumerate(TARGETS)
    }
    columns |= {"valid": pa.array(track.valid)}
    columns |= {f"{stream}_present": pa.array(track.presence[:, c]) for c, stream in enumerate(("audio", "visual"))}
    for model, values in track.predictions.items():
        if model != main:
            columns |= {f"{model}_{name}": pa.array(values[:, c].astype(np.float32)) for c, name in enumerate(TARGETS)}
    with atomic_path(path) as temporary:
        metadata = {b"avfusion": json.dumps({"features": track.features}).encode()}
        pq.write_table(pa.table(columns).replace_schema_metadata(metadata), temporary)


def read_predictions(path: Path) -> tuple[np.ndarray, np.ndarray, str]:
    """The main model's values (N, 2) float32 of every frame, their seconds (N,), and the fingerprint of its features.

    Raises:
        AVFusionError: it is not a file of predictions, or a value is outside [-1, 1].
    """
    try:
        table = pq.read_table(path, columns=["frame", "time_s", *TARGETS], partitioning=None)
        features = json.loads((table.schema.metadata or {}).get(b"avfusion", b"{}")).get("features", "")
        frames, time_s, *values = (table.column(name).to_numpy() for name in ("frame", "time_s", *TARGETS))
    except (OSError, KeyError, ValueError) as error:  # pyarrow's own are ValueErrors
        raise AVFusionError(f"{path} is not a file of predictions ({error}): run the stage `evaluate` again") from None
    predictions = np.stack(values, axis=1).astype(np.float32)
    if not np.array_equal(frames, np.arange(1, len(frames) + 1)):
        raise AVFusionError(f"{path}: its frames are not 1, 2, 3, …: run the stage `evaluate` again")
    if not (np.abs(predictions) <= 1).all():  # also false for NaN
        raise AVFusionError(f"{path}: values that are not in [-1, 1]: run the stage `evaluate` again")
    return predictions, time_s, features
