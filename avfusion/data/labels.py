"""The label files of the project: data/labels/<track>.parquet, one row per video frame."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from avfusion.runtime.errors import AVFusionError
from avfusion.runtime.fingerprints import arrays_digest
from avfusion.runtime.stamps import UNSTAMPED, Stamp

STAMP_KEY = b"avfusion.stamp"
SCHEMA = pa.schema([("frame", pa.int32()), ("valence", pa.float32()), ("arousal", pa.float32()), ("valid", pa.bool_())])


@dataclass(frozen=True)
class LabelTable:
    """Labels of the frames 1 to N.

    Attributes:
        valence: (N,) float32 in [-1, 1], NaN where not annotated.
        arousal: (N,) float32, likewise.
    """

    valence: np.ndarray
    arousal: np.ndarray
    valid: np.ndarray

    def __len__(self) -> int:
        return len(self.valid)

    def head(self, frames: int) -> "LabelTable":
        """The labels of the first `frames` frames, or all if there are fewer."""
        return LabelTable(self.valence[:frames], self.arousal[:frames], self.valid[:frames])


def write_labels(table: LabelTable, path: str | Path, wanted: Stamp = UNSTAMPED) -> None:
    """Write one track's label file: frame (int32, from 1), valence, arousal (float32), valid; and its stamp."""
    frames = np.arange(1, len(table) + 1, dtype=np.int32)
    columns = dict(zip(SCHEMA.names, (frames, table.valence, table.arousal, table.valid), strict=True))
    stamp = wanted.completed(arrays_digest(columns))
    schema = SCHEMA.with_metadata({STAMP_KEY: stamp.to_json()})
    pq.write_table(pa.Table.from_arrays([pa.array(column) for column in columns.values()], schema=schema), path)


def read_labels(path: str | Path) -> LabelTable:
    """Read one track's label file.

    Raises:
        AVFusionError: the file is missing or not a label file.
    """
    try:
        table = pq.read_table(path, partitioning=None)
        frames, valence, arousal, valid = (table.column(name).to_numpy() for name in SCHEMA.names)
    except (OSError, KeyError, pa.ArrowInvalid) as error:
        raise AVFusionError(f"{path} is not a label file ({error}): run the stage `labels`") from None
    if not np.array_equal(frames, np.arange(1, len(frames) + 1)):
        raise AVFusionError(f"{path}: its frames are not 1, 2, 3, …: delete it and run the stage `labels`")
    return LabelTable(valence, arousal, valid)


def frame_labels(path: Path, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N, 2) float32 of a video's N frames and their validity (N,).

    Frames beyond the label file's rows are invalid, rows beyond the video are ignored; without a file all are invalid.
    """
    labels, valid = np.zeros((frames, 2), np.float32), np.zeros(frames, bool)
    if path.is_file():
        table = read_labels(path).head(frames)
        valid[: len(table)] = table.valid
        values = np.stack([table.valence, table.arousal], axis=1)
        labels[: len(table)] = np.where(table.valid[:, None], values, 0)
    return labels, valid


def read_stamp(path: str | Path) -> Stamp | None:
    """The stamp of a label file, None without one."""
    metadata: dict[bytes, bytes] = pq.read_schema(path).metadata or {}
    stored = metadata.get(STAMP_KEY)
    return Stamp.from_json(stored) if stored else None


def restamp(source: Path, target: Path, stamp: Stamp) -> None:
    """Copy a label file with another stamp."""
    table = pq.read_table(source, partitioning=None)
    pq.write_table(table.replace_schema_metadata({STAMP_KEY: stamp.to_json()}), target)
