"""Face crops that come with a corpus: folders of images named by video frame, 00001.jpg and so on."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from avfusion.corpora.crops import list_crops
from avfusion.data.frames import CROP_SIZE, FrameRow, encode_crop
from avfusion.errors import BadInputError

_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # the others in the range are no frame headers


def source_crop_rows(
    folders: Sequence[Path],
    times_s: np.ndarray,
    *,
    jpeg_quality: int,
    on_warning: Callable[[str], None] | None = None,
) -> Iterator[FrameRow]:
    """One row per video frame, paired with the crop of its number; confidence is 1 where there is a crop.

    A crop that already is a 112x112 RGB JPEG passes byte for byte. Others are decoded, made 8-bit RGB of that size
    and encoded. What cannot be decoded counts as no face. What the names alone tell, the table of tracks says already.

    Args:
        folders: Folders of crops, merged; of two crops for one frame the earlier folder's is taken.
        times_s: (N,) times of the video's frames.
        jpeg_quality: Of crops that have to be encoded.
        on_warning: Called at the end, once per kind of remarkable image, with their number.

    Raises:
        BadInputError: a folder is missing.
    """
    for folder in folders:
        if not folder.is_dir():
            raise BadInputError(f"{folder} is missing: the folder of face crops is needed, or none in the table")
    crops = list_crops(folders).files
    counts: Counter[str] = Counter()
    for index, time_s in enumerate(times_s):
        jpeg = None
        if file := crops.get(index + 1):
            jpeg, fault = _template_jpeg(_read_bytes(file), jpeg_quality)
            if fault:
                counts[fault] += 1
        yield FrameRow(index + 1, float(time_s), jpeg, 0.0 if jpeg is None else 1.0)
    if on_warning:
        for kind, count in sorted(counts.items()):
            on_warning(f"{count} {kind}")


def _read_bytes(file: str) -> bytes:
    """Its content; nothing of what is no regular file, since a pipe would block and a device never end."""
    try:
        return Path(file).read_bytes() if os.path.isfile(file) else b""
    except OSError:
        return b""


def _template_jpeg(data: bytes, quality: int) -> tuple[bytes | None, str]:
    """The crop as 112x112 RGB JPEG, or None; and what was remarkable about it, empty if nothing."""
    if _is_template_jpeg(data) and _decoded(data, cv2.IMREAD_REDUCED_GRAYSCALE_8) is not None:
        return data, ""
    if data[:2] == b"\xff\xd8" and b"\xff\xd9" not in data[-64:]:
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


def _is_template_jpeg(data: bytes) -> bool:
    """Its header says 8 bits, 112x112, three components, and its end mark is there."""
    if data[:2] != b"\xff\xd8" or b"\xff\xd9" not in data[-64:]:
        return False
    at = 2
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker in _START_OF_FRAME:
            precision, components = data[at + 4], data[at + 9]
            height, width = int.from_bytes(data[at + 5 : at + 7]), int.from_bytes(data[at + 7 : at + 9])
            return (precision, height, width, components) == (8, CROP_SIZE, CROP_SIZE, 3)
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return False
