"""Crops as they should not be, made for real: decoded where possible, else the frame has no face, and it is counted."""

import io
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from avfusion.data.frames import decode_crops, encode_crop
from avfusion.data.source_crops import source_crop_rows

pytestmark = pytest.mark.timeout(60)  # reading a pipe that nobody writes to never ends, nor does a device


def picture(size: int = 112) -> np.ndarray:
    smooth = np.random.default_rng(3).integers(0, 255, (7, 7, 3)).astype(np.float32)
    return np.clip(cv2.resize(smooth, (size, size), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


def saved(mode: str, kind: str, size: int = 112, **options: object) -> bytes:
    """The picture in a colour mode and format of Pillow, an encoder other than the one that reads it."""
    file = io.BytesIO()
    Image.fromarray(picture(size)).convert(mode).save(file, kind, **options)
    return file.getvalue()


GOOD = encode_crop(picture(), 95)
TRUNCATED, UNDECODABLE = "crops are truncated: no face", "crops cannot be decoded: no face"
ENCODED_ANEW = "crops were not 112x112 RGB JPEG: encoded anew"
# name: content, what is said of it (empty: nothing), whether the frame has a face, whether colours are kept
KINDS: dict[str, tuple[bytes, str, bool, bool]] = {
    "good": (GOOD, "", True, True),
    "progressive": (saved("RGB", "JPEG", quality=95, progressive=True), "", True, True),
    "cmyk": (saved("CMYK", "JPEG", quality=95), ENCODED_ANEW, True, True),
    "grey": (saved("L", "JPEG", quality=95), ENCODED_ANEW, True, False),
    "larger": (saved("RGB", "JPEG", size=200, quality=95), ENCODED_ANEW, True, True),
    "smaller": (saved("RGB", "JPEG", size=30, quality=95), ENCODED_ANEW, True, True),
    "png": (saved("RGB", "PNG"), ENCODED_ANEW, True, True),
    "transparent": (saved("RGBA", "PNG"), ENCODED_ANEW, True, True),
    "grey and transparent": (saved("LA", "PNG"), ENCODED_ANEW, True, False),
    "palette": (saved("P", "PNG"), ENCODED_ANEW, True, False),
    "one bit": (saved("1", "PNG"), ENCODED_ANEW, True, False),
    "half": (GOOD[: len(GOOD) // 2], TRUNCATED, False, False),
    "header only": (GOOD[:30], TRUNCATED, False, False),
    "two bytes": (GOOD[:2], TRUNCATED, False, False),
    "half a png": (saved("RGB", "PNG")[:600], UNDECODABLE, False, False),
    "empty": (b"", UNDECODABLE, False, False),
    "text": (b"no image at all", UNDECODABLE, False, False),
    "frame header at the very end": (b"\xff\xd8\xff\xfe\0\4\xff\xd9\xff\xc0\0\x11", UNDECODABLE, False, False),
}


def rows_of(folder: Path, frames: int):
    remarks: list[str] = []
    rows = list(source_crop_rows([folder], np.arange(frames) / 25, jpeg_quality=95, on_warning=remarks.append))
    return rows, remarks


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_decoded_or_no_face(tmp_path, kind):
    content, remark, face, coloured = KINDS[kind]
    (tmp_path / "00001.jpg").write_bytes(content)
    (row,), remarks = rows_of(tmp_path, 1)
    assert (row.jpeg is not None, row.face_confidence) == (face, float(face))
    assert remarks == ([f"1 {remark}"] if remark else [])
    if row.jpeg is None:
        return
    assert (row.jpeg == content) == (not remark)
    decoded = decode_crops([row.jpeg])[0].astype(int)
    wanted = picture().astype(int)
    if coloured:
        assert np.abs(decoded - wanted).mean() < 10
    elif kind in ("grey", "grey and transparent"):
        assert np.abs(decoded.mean(axis=2) - wanted @ [0.299, 0.587, 0.114]).mean() < 3


def test_what_is_no_file_is_no_face_and_nothing_hangs(tmp_path):
    (tmp_path / "00001.jpg").write_bytes(GOOD)
    (tmp_path / "00002.jpg").mkdir()
    (tmp_path / "00003.jpg").symlink_to("/dev/zero")
    (tmp_path / "00004.jpg").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "00005.jpg")
    (tmp_path / "00006.jpg").symlink_to(tmp_path / "00001.jpg")
    rows, remarks = rows_of(tmp_path, 6)
    assert [row.jpeg == GOOD for row in rows] == [True, False, False, False, False, True]
    assert [row.face_confidence for row in rows] == [1, 0, 0, 0, 0, 1]
    assert remarks == ["4 crops cannot be decoded: no face"]


@settings(max_examples=40)
@given(
    kinds=st.dictionaries(st.integers(1, 12), st.sampled_from(sorted(KINDS)), max_size=12), frames=st.integers(0, 12)
)
def test_any_gaps_and_kinds_leave_a_row_per_frame_and_count_what_was_odd(tmp_path_factory, kinds, frames):
    folder = tmp_path_factory.mktemp("crops")
    for number, kind in kinds.items():
        (folder / f"{number:05d}.jpg").write_bytes(KINDS[kind][0])
    rows, remarks = rows_of(folder, frames)
    assert [row.frame for row in rows] == list(range(1, frames + 1))
    assert [row.jpeg is not None for row in rows] == [
        number in kinds and KINDS[kinds[number]][2] for number in range(1, frames + 1)
    ]
    seen = [KINDS[kind][1] for number, kind in kinds.items() if number <= frames]
    for words in {TRUNCATED, UNDECODABLE, ENCODED_ANEW}:
        counted = [remark for remark in remarks if remark.endswith(words)]
        assert counted == ([f"{seen.count(words)} {words}"] if words in seen else [])
