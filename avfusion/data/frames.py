"""The frame store: data/frames/<track>.parquet, one row per video frame with its time and its face crop as JPEG."""

import hashlib
import json
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from avfusion.runtime.errors import AVFusionError
from avfusion.runtime.stamps import UNSTAMPED, Stamp

CROP_SIZE = 112
_ROWS_PER_GROUP = 1024  # small, so that writing, and reading single crops, takes little memory
_STAMP_KEY = "avfusion.stamp"
_WARNINGS_KEY = "avfusion.warnings"
_CUTS_KEY = "avfusion.cuts_s"
_HASHED = struct.Struct("<idfi")  # frame, time, confidence, length of the crop (-1: none), followed by its bytes
# JPEG does not compress further, and a dictionary only costs time.
_STORED: dict[str, Any] = {
    "compression": {"frame": "zstd", "time_s": "zstd", "jpeg": "none", "face_confidence": "zstd"},
    "use_dictionary": False,
}
_SCHEMA = pa.schema(
    [("frame", pa.int32()), ("time_s", pa.float64()), ("jpeg", pa.binary()), ("face_confidence", pa.float32())]
)


class FrameRow(NamedTuple):
    """One video frame: number from 1, seconds from frame 1, its crop as JPEG (None: no face), confidence (0: none)."""

    frame: int
    time_s: float
    jpeg: bytes | None
    face_confidence: float


@dataclass(frozen=True)
class FrameTable:
    """The frames of a track.

    Attributes:
        frame: (N,) int32, 1 … N.
        time_s: (N,) float64, seconds from frame 1 by presentation time.
        jpeg: N crops of 112x112 RGB as JPEG, None where there is no face.
        face_confidence: (N,) float32 in [0, 1], 0 where there is no face; 1 for crops that came with the corpus.
    """

    frame: np.ndarray
    time_s: np.ndarray
    jpeg: list[bytes | None]
    face_confidence: np.ndarray

    @property
    def face_present(self) -> np.ndarray:
        """Which frames have a crop, (N,) bool."""
        return np.array([crop is not None for crop in self.jpeg], bool)


class Crops(Protocol):
    """Crops of a track by row (0-based): a list of JPEGs, or a `CropFile`; None where there is no face."""

    def __len__(self) -> int:
        """Rows."""

    def __getitem__(self, row: int, /) -> bytes | None:
        """The JPEG of a row."""


class CropFile:
    """The crops of a frame table, read on demand; only the last row group is in memory.

    Access in ascending order reads the file once, any other order a row group each time.

    Raises:
        AVFusionError: the file is missing or not a frame table, also on reading a row.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = path
        self._held = -1
        self._crops: pa.ChunkedArray | None = None
        with _table_errors(path):
            self._file = pq.ParquetFile(path)
            if "jpeg" not in self._file.schema_arrow.names:
                raise pa.ArrowInvalid("no column jpeg")
        metadata = self._file.metadata
        self._starts = [0]  # first row of each group, and the number of rows
        for group in range(metadata.num_row_groups):
            self._starts.append(self._starts[-1] + metadata.row_group(group).num_rows)

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, row: int, /) -> bytes | None:
        if not 0 <= row < len(self):
            raise IndexError(f"{self._path} has no row {row}")
        group = bisect_right(self._starts, row) - 1
        if self._crops is None or group != self._held:
            self._crops = None  # freed before the next one is read
            with _table_errors(self._path):
                self._crops = self._file.read_row_group(group, columns=["jpeg"])["jpeg"]
            self._held = group
        crop: bytes | None = self._crops[row - self._starts[group]].as_py()
        return crop

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._crops = None
        self._file.close()


def write_frames(
    path: str | Path,
    rows: Iterable[FrameRow],
    wanted: Stamp = UNSTAMPED,
    warnings: Callable[[], Sequence[str]] = tuple,
    cuts_s: Callable[[], Sequence[float]] = tuple,
) -> None:
    """Write rows, a thousand at a time.

    Args:
        path: The file (the caller's temporary path, since it is not written atomically).
        warnings: Called after the last row; its warnings are kept in the file.
        cuts_s: Called after the last row; its times of cuts of the track, in seconds, are kept in the file.
    """
    with FrameWriter(path, wanted) as writer:
        for row in rows:
            writer.write(row)
        writer.remark(warnings(), cuts_s())


class FrameWriter:
    """Writes rows, a thousand at a time; a context manager that closes the file."""

    def __init__(self, path: str | Path, wanted: Stamp = UNSTAMPED) -> None:
        self._wanted, self._content = wanted, hashlib.sha256()
        self._writer = pq.ParquetWriter(path, _SCHEMA, **_STORED)
        self._waiting: list[FrameRow] = []

    def write(self, row: FrameRow) -> None:
        """Append the next frame."""
        self._waiting.append(row)
        crop = -1 if row.jpeg is None else len(row.jpeg)
        self._content.update(_HASHED.pack(row.frame, row.time_s, row.face_confidence, crop))
        self._content.update(row.jpeg or b"")
        if len(self._waiting) == _ROWS_PER_GROUP:
            self._flush()

    def remark(self, warnings: Sequence[str], cuts_s: Sequence[float]) -> None:
        """Keep warnings and times of cuts in the file, after its last row."""
        self._flush()
        self._writer.add_key_value_metadata(_remarks(warnings, cuts_s))

    def _flush(self) -> None:
        if self._waiting:
            columns = zip(zip(*self._waiting, strict=True), _SCHEMA, strict=True)
            arrays = [pa.array(values, field.type) for values, field in columns]
            self._writer.write_batch(pa.record_batch(arrays, schema=_SCHEMA))
            self._waiting = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
            stamp = self._wanted.completed(self._content.hexdigest()[:32])
            self._writer.add_key_value_metadata({_STAMP_KEY: stamp.to_json()})
        self._writer.close()


def read_frames(path: str | Path) -> FrameTable:
    """Read a track's frames with all crops.

    Raises:
        AVFusionError: the file is missing or is no frame table.
    """
    table = _read(path, None)
    return FrameTable(
        frame=table["frame"].to_numpy(),
        time_s=table["time_s"].to_numpy(),
        jpeg=table["jpeg"].to_pylist(),
        face_confidence=table["face_confidence"].to_numpy(),
    )


def read_frame_times(path: str | Path) -> np.ndarray:
    """The times of a track's frames, (N,) float64 seconds; reads no crop.

    Raises:
        AVFusionError: the file is missing or is no frame table.
    """
    return _read(path, ["time_s"])["time_s"].to_numpy()


def read_face_confidence(path: str | Path) -> np.ndarray:
    """The face confidence of a track's frames, (N,) float32, 0: no face; reads no crop.

    Raises:
        AVFusionError: the file is missing or is no frame table.
    """
    return _read(path, ["face_confidence"])["face_confidence"].to_numpy()


def read_crops_at(path: str | Path, rows: Sequence[int]) -> list[bytes | None]:
    """The JPEGs of some rows (0-based, ascending); reads only the parts of the file with these rows."""
    wanted = list(rows)
    found: list[bytes | None] = []
    with pq.ParquetFile(path) as file:
        start = 0
        for group in range(file.num_row_groups):
            stop = start + file.metadata.row_group(group).num_rows
            inside = [row - start for row in wanted if start <= row < stop]
            if inside:
                found += file.read_row_group(group, columns=["jpeg"])["jpeg"].take(inside).to_pylist()
            start = stop
    return found


def read_stamp(path: str | Path) -> Stamp | None:
    """The stamp of a frame file, None without one."""
    stored = (pq.read_metadata(path).metadata or {}).get(_STAMP_KEY.encode())
    return Stamp.from_json(stored) if stored else None


def restamp(source: Path, target: Path, stamp: Stamp) -> None:
    """Copy a frame file with another stamp, a row group at a time."""
    with pq.ParquetFile(source) as file, pq.ParquetWriter(target, _SCHEMA, **_STORED) as writer:
        for group in range(file.num_row_groups):
            writer.write_table(file.read_row_group(group))
        writer.add_key_value_metadata(_remarks(read_warnings(source), read_cuts(source)))
        writer.add_key_value_metadata({_STAMP_KEY: stamp.to_json()})


def read_warnings(path: str | Path) -> list[str]:
    """The warnings kept in a frame file."""
    return _read_remark(path, _WARNINGS_KEY)


def read_cuts(path: str | Path) -> list[float]:
    """The times of the cuts of the track kept in a frame file, in seconds, ascending."""
    return _read_remark(path, _CUTS_KEY)


def _remarks(warnings: Sequence[str], cuts_s: Sequence[float]) -> dict[str, str]:
    return {_WARNINGS_KEY: json.dumps(list(warnings)), _CUTS_KEY: json.dumps(list(cuts_s))}


def _read_remark(path: str | Path, key: str) -> list[Any]:
    metadata = pq.read_metadata(path).metadata or {}
    return json.loads(metadata.get(key.encode(), b"[]"))


def decode_crops(jpegs: Sequence[bytes]) -> np.ndarray:
    """Decode crops to (n, 112, 112, 3) uint8 RGB.

    Raises:
        AVFusionError: a crop cannot be decoded to this shape.
    """
    crops = np.empty((len(jpegs), CROP_SIZE, CROP_SIZE, 3), np.uint8)
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    for index, jpeg in enumerate(jpegs):
        crop = cv2.imdecode(np.frombuffer(jpeg, np.uint8), flags)
        if crop is None or crop.shape != crops.shape[1:]:
            shape = "nothing" if crop is None else f"{crop.shape[1]}x{crop.shape[0]}"
            raise AVFusionError(f"crop {index + 1} of {len(jpegs)} decodes to {shape}, not to 112x112: remake frames")
        crops[index] = crop
    return crops


def encode_crop(rgb: np.ndarray, quality: int) -> bytes:
    """A (112, 112, 3) uint8 RGB crop as JPEG of `quality` 1 to 100."""
    done, jpeg = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise AVFusionError("a face crop cannot be encoded as JPEG")
    return jpeg.tobytes()


def _read(path: str | Path, columns: list[str] | None) -> pa.Table:
    with _table_errors(path):
        return pq.read_table(path, columns=columns)


@contextmanager
def _table_errors(path: str | Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise AVFusionError(f"{path} is missing: run the stage `frames`") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise AVFusionError(f"{path} is no frame table ({' '.join(str(error).split())}): remake frames") from None
