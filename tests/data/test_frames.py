from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avfusion.corpora.crops import list_crops
from avfusion.data.frames import (
    FrameRow,
    decode_crops,
    encode_crop,
    read_crops_at,
    read_cuts,
    read_face_confidence,
    read_frame_times,
    read_frames,
    read_stamp,
    read_warnings,
    restamp,
    write_frames,
)
from avfusion.data.source_crops import source_crop_rows
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.runtime.stamps import Stamp, library_versions


def _picture(seed=0, size=112, channels=3):
    smooth = np.random.default_rng(seed).integers(0, 255, (7, 7, channels)).astype(np.float32)
    return np.clip(cv2.resize(smooth, (size, size), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


_SMALL_JPEG = encode_crop(_picture(), 30)


def _rows(count):
    for index in range(count):
        jpeg = None if index % 5 == 4 else f"crop {index}".encode()
        yield FrameRow(index + 1, index / 25, jpeg, 0.0 if jpeg is None else 0.9)


def test_round_trip_of_a_table_of_several_row_groups(tmp_path):
    path = tmp_path / "t.parquet"
    write_frames(path, _rows(2500), Stamp("inputs", "code"), lambda: ["one remark"], lambda: [1.5, 2.04])
    table = read_frames(path)
    expected = list(_rows(2500))
    assert table.frame.dtype == np.int32
    assert table.time_s.dtype == np.float64
    assert table.face_confidence.dtype == np.float32
    np.testing.assert_array_equal(table.frame, np.arange(1, 2501))
    np.testing.assert_array_equal(table.time_s, [row.time_s for row in expected])
    assert table.jpeg == [row.jpeg for row in expected]
    np.testing.assert_array_equal(table.face_present, [row.jpeg is not None for row in expected])
    np.testing.assert_array_equal(read_frame_times(path), table.time_s)
    np.testing.assert_array_equal(read_face_confidence(path), table.face_confidence)
    assert read_crops_at(path, [0, 1023, 1024, 2404, 2499]) == [b"crop 0", b"crop 1023", None, None, None]
    assert read_crops_at(path, [1025, 2498]) == [b"crop 1025", b"crop 2498"]
    stamp = read_stamp(path)
    assert (stamp.made, stamp.code, stamp.libraries) == ("inputs", "code", library_versions())
    assert (read_warnings(path), read_cuts(path)) == (["one remark"], [1.5, 2.04])


def test_the_content_depends_on_the_rows_alone(tmp_path):
    def content(rows, *more):
        write_frames(tmp_path / "t.parquet", rows, *more)
        return read_stamp(tmp_path / "t.parquet").content

    rows = list(_rows(1100))
    other = [
        [*rows[:7], rows[7]._replace(jpeg=b"crop 8"), *rows[8:]],
        [*rows[:7], rows[7]._replace(jpeg=None), *rows[8:]],
        [*rows[:7], rows[7]._replace(time_s=0.281), *rows[8:]],
        [*rows[:7], rows[7]._replace(face_confidence=0.8), *rows[8:]],
        [*rows[:7], rows[7]._replace(frame=9), *rows[8:]],
        rows[:-1],
    ]
    found = [content(rows), *map(content, other)]
    assert len(set(found)) == 7
    assert content(rows, Stamp("other inputs", "other code"), lambda: ["a remark"]) == found[0]


def test_another_stamp_changes_nothing_else(tmp_path):
    write_frames(tmp_path / "a", _rows(2500), Stamp("inputs", "code"), lambda: ["one remark"], lambda: [1.5])
    stamp = read_stamp(tmp_path / "a")
    restamp(tmp_path / "a", tmp_path / "same", stamp)
    assert (tmp_path / "same").read_bytes() == (tmp_path / "a").read_bytes()
    restamp(tmp_path / "a", tmp_path / "b", replace(stamp, code="other"))
    assert read_stamp(tmp_path / "b") == replace(stamp, code="other")
    assert (read_warnings(tmp_path / "b"), read_cuts(tmp_path / "b")) == (["one remark"], [1.5])
    assert read_frames(tmp_path / "b").jpeg == read_frames(tmp_path / "a").jpeg


def test_equal_rows_give_equal_bytes(tmp_path):
    for name in "ab":
        write_frames(tmp_path / name, _rows(100))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_unreadable_tables_are_named(tmp_path):
    with pytest.raises(AVFusionError, match="run the stage `frames`"):
        read_frames(tmp_path / "none.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(AVFusionError, match=r"bad.parquet is no frame table"):
        read_frame_times(tmp_path / "bad.parquet")


def test_crops_survive_jpeg():
    crops = np.stack([_picture(0), _picture(1)])
    decoded = decode_crops([encode_crop(crop, 95) for crop in crops])
    assert decoded.shape == (2, 112, 112, 3)
    assert np.abs(decoded.astype(int) - crops).mean() < 2
    with pytest.raises(AVFusionError, match="crop 2 of 2 decodes to nothing"):
        decode_crops([encode_crop(crops[0], 95), b"no image"])
    with pytest.raises(AVFusionError, match="decodes to 64x64"):
        decode_crops([encode_crop(_picture(size=64), 95)])
    assert decode_crops([]).shape == (0, 112, 112, 3)


@pytest.fixture
def folder(tmp_path):
    """Crops of every kind for a video of 12 frames."""
    crops = tmp_path / "crops"
    crops.mkdir()
    good = encode_crop(_picture(), 80)
    grey = cv2.imencode(".jpg", _picture(channels=1))[1].tobytes()
    deep = cv2.imencode(".png", _picture()[..., ::-1].astype(np.uint16) * 257)[1].tobytes()
    exif = good[:2] + b"\xff\xe1\x00\x08Exif\0\0" + good[2:]
    files = {
        "00001.jpg": good,
        "00002.jpg": grey,
        "00003.png": deep,
        "00004.jpg": encode_crop(_picture(size=224), 95),
        "00005.jpg": good[: len(good) // 2],
        "00006.jpg": b"no image at all",
        "00007.jpg": b"",
        "00008.jpg": exif,
        "00013.jpg": good,
        "best.jpg": good,
        "00009.txt": b"words",
    }
    for name, content in files.items():
        (crops / name).write_bytes(content)
    return crops


def test_source_crops_of_every_kind(folder):
    remarks = []
    rows = list(source_crop_rows([folder], np.arange(12) / 25, jpeg_quality=95, on_warning=remarks.append))
    assert [row.frame for row in rows] == list(range(1, 13))
    assert [row.time_s for row in rows] == [index / 25 for index in range(12)]
    assert [row.frame for row in rows if row.jpeg is not None] == [1, 2, 3, 4, 8]
    assert [row.face_confidence for row in rows] == [1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0]
    for number in (1, 8):
        assert rows[number - 1].jpeg == (folder / f"{number:05d}.jpg").read_bytes()
    decoded = decode_crops([rows[number].jpeg for number in (1, 2, 3)]).astype(int)
    assert np.ptp(decoded[0], axis=2).max() <= 2  # grey stays grey
    assert np.abs(decoded[1] - _picture()).mean() < 2  # 16 bits are scaled to 8, colours in their order
    assert np.abs(decoded[2] - _picture()).mean() < 8  # half the size
    assert remarks == [
        "1 crops are truncated: no face",
        "2 crops cannot be decoded: no face",
        "3 crops were not 112x112 RGB JPEG: encoded anew",
    ]


@settings(max_examples=30)
@given(
    folders=st.lists(st.sets(st.integers(1, 25), max_size=12), min_size=1, max_size=3),
    digits=st.integers(1, 8),
    frames=st.integers(1, 20),
)
def test_any_subset_of_crops_pairs_by_number_and_every_frame_stays_a_row(tmp_path_factory, folders, digits, frames):
    root = tmp_path_factory.mktemp("crops")
    for at, numbers in enumerate(folders):
        (root / str(at)).mkdir()
        for number in numbers:  # a comment in the JPEG tells which crop it is
            mark = f"{at}/{number}".encode()
            jpeg = _SMALL_JPEG[:2] + b"\xff\xfe" + (len(mark) + 2).to_bytes(2) + mark + _SMALL_JPEG[2:]
            (root / str(at) / f"{number:0{digits}d}.jpg").write_bytes(jpeg)
    times_s, remarks = np.arange(frames) / 25, []
    paths = [root / str(at) for at in range(len(folders))]
    rows = list(source_crop_rows(paths, times_s, jpeg_quality=95, on_warning=remarks.append))
    assert [row.frame for row in rows] == list(range(1, frames + 1))
    assert [row.time_s for row in rows] == times_s.tolist()
    first = {n: at for at, numbers in reversed(list(enumerate(folders))) for n in numbers}
    assert [row.jpeg and row.jpeg[6:].split(b"\xff")[0].decode() for row in rows] == [
        f"{first[n]}/{n}" if n in first else None for n in range(1, frames + 1)
    ]
    assert [row.face_confidence for row in rows] == [float(n in first) for n in range(1, frames + 1)]
    assert list_crops(paths).repeated == sum(map(len, folders)) - len(first)
    assert remarks == []  # of the pictures; what the names tell, the table of tracks says


def _variants(rng, jpeg):
    """Damaged crops of every kind: bytes changed, cut out or put in, anywhere; the end mark mostly kept."""
    for number in range(400):
        data = bytearray(jpeg)
        for _ in range(rng.integers(1, 4)):
            at = int(rng.integers(2, len(data)))
            kind = number % 4
            if kind == 0:
                data[at] = rng.integers(256)
            elif kind == 1:
                del data[at : at + int(rng.integers(1, 300))]
            elif kind == 2:
                data[at:at] = rng.integers(256, size=rng.integers(1, 20), dtype=np.uint8).tobytes()
            else:
                data[at : at + 2] = bytes([0xFF, rng.integers(256)])
        yield bytes(data) if number % 10 == 0 else bytes(data).removesuffix(b"\xff\xd9") + b"\xff\xd9"


@pytest.mark.parametrize("options", [[], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 7]])
def test_whatever_passes_can_be_decoded(tmp_path, options, capfd):
    good = cv2.imencode(".jpg", _picture()[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90, *options])[1].tobytes()
    damaged = list(_variants(np.random.default_rng(3), good))
    crops = [one for pair in zip([good] * len(damaged), damaged, strict=True) for one in pair]
    for number, content in enumerate(crops, start=1):
        (tmp_path / f"{number:05d}.jpg").write_bytes(content)
    rows = list(source_crop_rows([tmp_path], np.arange(len(crops)) / 25, jpeg_quality=95))
    assert all(row.jpeg == good for row in rows[::2])
    kept = [row.jpeg for row in rows if row.jpeg is not None]
    assert decode_crops(kept).shape == (len(kept), 112, 112, 3)
    assert len(crops) / 2 < len(kept) < len(crops)
    capfd.readouterr()  # libjpeg's complaints


def test_crops_of_several_encoders_pass_byte_for_byte(tmp_path):
    crops = [encode_crop(_picture(seed), quality) for seed in range(3) for quality in (75, 90, 95)]
    for number, content in enumerate(crops, start=1):
        (tmp_path / f"{number:05d}.jpg").write_bytes(content)
    assert [row.jpeg for row in source_crop_rows([tmp_path], np.arange(9) / 25, jpeg_quality=95)] == crops


def test_a_large_picture_is_read_whole(tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (400, 400, 3), dtype=np.uint8)
    content = cv2.imencode(".png", picture)[1].tobytes()
    assert len(content) > 3 * 65536
    (tmp_path / "1.png").write_bytes(content)
    (row,) = source_crop_rows([tmp_path], np.zeros(1), jpeg_quality=95)
    expected = cv2.resize(picture, (112, 112), interpolation=cv2.INTER_AREA)[..., ::-1]
    assert np.abs(decode_crops([row.jpeg])[0].astype(int) - expected).mean() < 12


def test_folders_are_merged_and_a_missing_one_is_named(folder, tmp_path):
    second = tmp_path / "later"
    second.mkdir()
    other = encode_crop(_picture(5), 80)
    for name in ("00001.jpg", "00010.jpg"):
        (second / name).write_bytes(other)
    rows = list(source_crop_rows([folder, second], np.arange(12) / 25, jpeg_quality=95))
    assert rows[0].jpeg == (folder / "00001.jpg").read_bytes()
    assert rows[9].jpeg == other
    with pytest.raises(BadInputError, match="nowhere is missing"):
        list(source_crop_rows([tmp_path / "nowhere"], np.arange(3) / 25, jpeg_quality=95))
