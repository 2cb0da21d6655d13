"""Face crops that come with a corpus: folders of images named by video frame, 00001.jpg and so on."""

import hashlib
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from avfusion.corpora.crops import merge_crops
from avfusion.corpora.layout import is_litter
from avfusion.corpora.source_hashes import RESCAN, crop_digest, crops_digest, refuse_changed
from avfusion.data.frames import CROP_SIZE, FrameRow, decode_crops, encode_crop, write_frames
from avfusion.media.timeline import read_timeline
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.runtime.stamps import Stamp

_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # the others in the range are not frame headers
_START_OF_SCAN = 0xDA
_END_OF_IMAGE = b"\xff\xd9"
_READ_BYTES = 1 << 16
_MOST_BYTES = 1 << 24  # per crop
_MARKER = re.compile(rb"\xff[^\x00]")  # within entropy-coded data, ff is followed by 00


@dataclass(frozen=True)
class SourceCropsTask:
    """A worker's input for the frames of a track whose crops came with the corpus."""

    video: Path
    video_hash: str
    folders: tuple[Path, ...]
    crops_hash: str
    jpeg_quality: int


def make_frames_of_crops(task: SourceCropsTask, path: Path, wanted: Stamp) -> None:
    """Write one track's frame table to `path`.

    Its warnings concern the pictures; the table of tracks has those about packets and file names.
    """
    refuse_changed(task.video, task.video_hash)
    warnings: list[str] = []
    rows = source_crop_rows(
        task.folders,
        read_timeline(task.video).times_s,
        jpeg_quality=task.jpeg_quality,
        crops_hash=task.crops_hash,
        on_warning=warnings.append,
    )
    write_frames(path, rows, wanted, lambda: warnings)


def source_crop_rows(
    folders: Sequence[Path],
    times_s: np.ndarray,
    *,
    jpeg_quality: int,
    crops_hash: str | None = None,
    on_warning: Callable[[str], None] | None = None,
) -> Iterator[FrameRow]:
    """One row per video frame, paired with the crop of its number; confidence is 1 where there is a crop.

    A crop that already is a 112x112 RGB JPEG passes byte for byte. Others are decoded, made 8-bit RGB of that size
    and encoded. Crops that cannot be decoded count as no face. Warnings about names are in the table of tracks already.

    Args:
        folders: Folders of crops, merged; of two crops for one frame, the earlier folder's wins.
        times_s: (N,) times of the video's frames.
        crops_hash: Hashes of the folders (names and contents) from the scan, joined with `+`; None: no comparison.
        on_warning: Called at the end, once per kind of remarkable image, with the number of such images.

    Raises:
        BadInputError: a folder is missing, or (after the last row) changed since the scan.
    """
    for folder in folders:
        if not folder.is_dir():
            raise BadInputError(f"{folder} is missing: restore the folder of face crops, or scan again")
    listed = {folder: os.listdir(folder) for folder in folders}
    crops = merge_crops(listed).files
    digests: dict[str, str] = {}  # of files read as a whole
    counts: Counter[str] = Counter()
    ready = _ReadyCrops()
    for index, time_s in enumerate(times_s.tolist()):
        jpeg = None
        if file := crops.get(index + 1):
            jpeg = _read_bytes(file)
            if jpeg:
                digests[file] = hashlib.sha256(jpeg).hexdigest()
            if not ready.has(jpeg):
                jpeg, fault = _made_ready(jpeg, jpeg_quality)
                counts[fault] += 1
        yield FrameRow(index + 1, time_s, jpeg, 0.0 if jpeg is None else 1.0)
    if crops_hash is not None:
        _refuse_changed(listed, digests, crops_hash)
    if on_warning:
        for kind, count in sorted(counts.items()):
            on_warning(f"{count} {kind}")


def _refuse_changed(listed: Mapping[Path, Sequence[str]], digests: Mapping[str, str], crops_hash: str) -> None:
    """As `refuse_changed` of videos, without listing folders and reading files again."""
    for (folder, names), scanned in zip(listed.items(), crops_hash.split("+"), strict=False):
        found = {}
        for name in names:
            file = f"{folder}{os.sep}{name}"
            if file in digests:
                found[name] = digests[file]
            elif not is_litter(name) and os.path.isfile(file):
                found[name] = crop_digest(file)
        if crops_digest(found) != scanned:
            raise BadInputError(f"{folder} changed since the last scan: {RESCAN}")


class _ReadyCrops:
    """Recognises files that can be copied unchanged: 112x112 RGB JPEGs that certainly decode.

    Decoding each file would cost several times its reading and writing. Only data outside the entropy-coded part can
    make libjpeg fail; damage inside it gives a damaged picture. So a file decodes if it equals a decoded file up to
    that part and has no marker within it. Most crops of a corpus share these headers.
    """

    def __init__(self) -> None:
        self._header = b""

    def has(self, data: bytes) -> bool:
        """Whether the file can be copied unchanged."""
        if self._header and data.startswith(self._header) and data.endswith(_END_OF_IMAGE):
            marker = _MARKER.search(data, len(self._header))
            if marker and marker.end() == len(data):
                return True
        scan = _scan_of_template(data)
        if not scan or not _is_whole(data):
            return False
        try:
            decode_crops([data])
        except (AVFusionError, cv2.error):
            return False
        self._header = data[:scan]
        return True


def _is_whole(data: bytes) -> bool:
    """Whether the end mark is present; some writers pad it."""
    return _END_OF_IMAGE in data[-64:]


def _scan_of_template(data: bytes) -> int:
    """Start of the entropy-coded data of a JPEG with 8 bits, 112x112 pixels and three components; else 0."""
    if data[:2] != b"\xff\xd8":
        return 0
    at, right = 2, False
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker in _START_OF_FRAME:
            precision, components = data[at + 4], data[at + 9]
            height, width = int.from_bytes(data[at + 5 : at + 7]), int.from_bytes(data[at + 7 : at + 9])
            right = (precision, height, width, components) == (8, CROP_SIZE, CROP_SIZE, 3)
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
        if marker == _START_OF_SCAN:
            return at if right else 0
    return 0


def _read_bytes(file: str) -> bytes:
    """The content; empty if unreadable, not a regular file, or huge. (`open` would need more system calls.)"""
    try:
        handle = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # a pipe would block
    except OSError:
        return b""
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):  # a device may never end
            return b""
        data = part = os.read(handle, _READ_BYTES)
        while len(part) == _READ_BYTES and len(data) < _MOST_BYTES:
            part = os.read(handle, _READ_BYTES)
            data += part
        return data if len(data) < _MOST_BYTES else b""
    except OSError:
        return b""
    finally:
        os.close(handle)


def _made_ready(data: bytes, quality: int) -> tuple[bytes | None, str]:
    """The crop as 112x112 RGB JPEG, or None if it cannot be decoded; and a remark."""
    if data[:2] == b"\xff\xd8" and not _is_whole(data):
        return None, "crops are truncated: no face"
    # IMREAD_UNCHANGED keeps 16 bits and leaves the orientation alone, as the pass-through does.
    image = _decoded(data, cv2.IMREAD_UNCHANGED)
    if image is None:
        return None, "crops cannot be decoded: no face"
    return encode_crop(_eight_bit_rgb(image), quality), "crops were not 112x112 RGB JPEG: encoded anew"


def _decoded(data: bytes, flags: int) -> np.ndarray | None:
    if not data:
        return None
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None


def _eight_bit_rgb(image: np.ndarray) -> np.ndarray:
    if image.dtype == np.uint16:
        image = (image // 257).astype(np.uint8)
    elif image.dtype != np.uint8:
        image = np.clip(np.rint(image * 255.0), 0, 255).astype(np.uint8)  # floating-point images are in [0, 1]
    if image.ndim == 2 or image.shape[2] == 1:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    else:
        image = cv2.cvtColor(image[:, :, :3], cv2.COLOR_BGR2RGB)
    if image.shape[:2] != (CROP_SIZE, CROP_SIZE):
        shrinks = min(image.shape[:2]) > CROP_SIZE
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        image = cv2.resize(image, (CROP_SIZE, CROP_SIZE), interpolation=how)
    return image
