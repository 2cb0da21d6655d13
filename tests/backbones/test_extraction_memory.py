"""How much is read, decoded and held: each crop once, in order, and no more of a track than a batch of clips shows."""

import gc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from avfusion.backbones import extraction
from avfusion.backbones.extraction import FeatureExtractor
from avfusion.data.audio import AudioFile, read_audio, write_audio
from avfusion.data.frames import CropFile, FrameRow, write_frames
from avfusion.runtime.errors import AVFusionError

RATE = 44100


@pytest.fixture(scope="module")
def long_table(tmp_path_factory):
    """Nine row groups of crops that are no pictures but as large; every tenth frame has none."""
    path = tmp_path_factory.mktemp("long") / "frames.parquet"
    noise = np.random.default_rng(0).bytes(4000)
    rows = (FrameRow(n + 1, n / 25, None if n % 10 == 9 else n.to_bytes(4, "big") + noise, 1.0) for n in range(9000))
    write_frames(path, rows)
    return path


def test_a_file_gives_the_rows_of_the_table(long_table):
    with CropFile(long_table) as crops:
        assert len(crops) == 9000
        for row in (0, 8, 1023, 1024, 8998, 3, 2500):  # also backwards
            crop = crops[row]
            assert crop is not None
            assert (int.from_bytes(crop[:4], "big"), len(crop)) == (row, 4004)
        assert crops[9] is None
        for row in (-1, 9000):
            with pytest.raises(IndexError):
                crops[row]


def test_only_one_row_group_is_in_memory_and_each_is_read_once(long_table, monkeypatch):
    read, whole = [], pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        pq.ParquetFile, "read_row_group", lambda self, n, **options: (read.append(n), whole(self, n, **options))[1]
    )
    gc.collect()  # of what other tests left
    before, most = pa.total_allocated_bytes(), 0
    with CropFile(long_table) as crops:
        for row in range(len(crops)):
            crops[row]
            most = max(most, pa.total_allocated_bytes() - before)
    assert read == list(range(9))
    assert 2e6 < most < 3 * 1024 * 4004, "about one group of 1024 rows, not 36 MB"


def test_other_files_are_named(tmp_path):
    with pytest.raises(AVFusionError, match=r"none\.parquet is missing"):
        CropFile(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("hello" * 10)
    with pytest.raises(AVFusionError, match="is no frame table"):
        CropFile(tmp_path / "text.parquet")
    pq.write_table(pa.table({"other": [1]}), tmp_path / "other.parquet")
    with pytest.raises(AVFusionError, match="no column jpeg"):
        CropFile(tmp_path / "other.parquet")


def test_sound_is_cut_out_of_its_file(tmp_path, track_maker):
    sound = track_maker("a", 1).sound
    write_audio(tmp_path / "a.wav", sound / np.float32(32768))
    with AudioFile(tmp_path / "a.wav") as file:
        assert len(file) == len(sound)
        for start, stop in ((0, 100), (5000, 5000), (300, 200), (len(sound) - 3, len(sound) + 50), (7, 8)):
            assert file[start:stop].dtype == np.int16
            assert file[start:stop].tolist() == sound[start:stop].tolist()
    with pytest.raises(AVFusionError, match="run the stage `audio`"):
        AudioFile(tmp_path / "none.wav")


def test_files_give_the_features_of_arrays(models, track_maker, tmp_path):
    track = track_maker("a", 1)
    write_audio(tmp_path / "a.wav", track.sound / np.float32(32768))
    jpegs = [None if n % 7 == 0 else jpeg for n, jpeg in enumerate(track.jpegs)]
    rows = (FrameRow(n + 1, t, jpeg, 1.0) for n, (t, jpeg) in enumerate(zip(track.time_s, jpegs, strict=True)))
    write_frames(tmp_path / "a.parquet", rows)
    extractor = FeatureExtractor(models.visual, models.audio, models.spec)
    expected = extractor.extract_track(track.time_s, jpegs, read_audio(tmp_path / "a.wav"))
    with CropFile(tmp_path / "a.parquet") as crops, AudioFile(tmp_path / "a.wav") as sound:
        table = extractor.extract_track(track.time_s, crops, sound)
    for name in ("clip_end", "audio", "visual", "audio_present", "visual_present"):
        assert np.array_equal(getattr(table, name), getattr(expected, name))


@pytest.mark.parametrize(("stride", "share"), [(1, 0.13), (8, 0.5), (32, 1.0)])
def test_a_crop_is_decoded_and_moved_once_and_few_are_held(models_with, track_maker, monkeypatch, stride, share):
    models = models_with(stride=stride)
    track = track_maker("a", 1, frames=400)
    # Bytes behind a JPEG's end do no harm: they tell equal pictures apart.
    jpegs = [
        None if 60 <= n < 75 or n in (130, 131, 300) else jpeg + n.to_bytes(4, "big")
        for n, jpeg in enumerate(track.jpegs)
    ]
    decoded, moved, held = [], [], []
    decode, move = extraction.decode_crops, extraction.to_device

    def watched_decode(crops):
        decoded.extend(crops)
        return decode(crops)

    def watched_move(values, device):
        if values.dtype == np.uint8:
            moved.append(values.size)
        return move(values, device)

    def watched_cat(tensors, *options):
        joined = cat(tensors, *options)
        if joined.shape[1:] == (28, 28, 3):
            held.append(len(joined))
        return joined

    cat = torch.cat
    monkeypatch.setattr(extraction, "decode_crops", watched_decode)
    monkeypatch.setattr(extraction, "to_device", watched_move)
    monkeypatch.setattr(torch, "cat", watched_cat)
    extractor = FeatureExtractor(models.visual, models.audio, models.spec)
    _, present = extractor.visual_clips(jpegs, np.arange(0, 400, stride))
    order = [int.from_bytes(crop[-4:], "big") for crop in decoded]
    assert order == sorted(set(order)), "each once, in the order of the file"
    assert sum(moved) == len(decoded) * 28 * 28 * 3
    assert sum(moved) <= share * present.sum() * 8 * 28 * 28 * 3
    # Eight clips a batch: what they show, and no more than a window before it.
    assert max(held) <= 8 * min(stride, 8) + 32
