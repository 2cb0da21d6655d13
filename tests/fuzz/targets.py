"""The readers of what comes from outside, each with whole files of its kind."""

from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from avfusion.corpora.sources import read_sources
from avfusion.corpora.table import SCHEMA, read_tracks
from avfusion.data.annotations import count_rows, read_annotation
from avfusion.data.frames import decode_crops
from avfusion.data.source_crops import source_crop_rows
from avfusion.media.audio import read_aligned_audio
from avfusion.media.audio_timeline import read_any_timeline
from avfusion.media.probe import media_info
from avfusion.media.video import read_video
from avfusion.params.params import load_params
from tests.fuzz.bombs import bomb_seeds
from tests.fuzz.media_seeds import media_seeds
from tests.fuzz.own_data import OWN_DATA
from tests.fuzz.target import SEPARATORS, Target

PARAMS = Path(__file__).parents[2] / "params.yaml"


def read_media(file: Path) -> None:
    """As the stages corpus, frames and audio do, and `predict` with sound alone.

    Nothing may come out that their contracts exclude.
    """
    timeline = read_any_timeline(file)
    info = media_info(timeline)
    assert timeline.frames >= 1
    assert timeline.times_s[0] == 0
    assert (np.diff(timeline.times_s) > 0).all()
    assert 0 < info.fps < np.inf
    assert info.duration_s >= timeline.times_s[-1]
    last = -1
    for frame in read_video(file, timeline=timeline) if timeline.has_pictures else ():
        assert last < frame.index0 < timeline.frames
        assert frame.rgb.dtype == np.uint8
        assert frame.rgb.shape[2] == 3
        last = frame.index0
    samples = read_aligned_audio(file, timeline=timeline)
    if samples is not None:
        assert samples.dtype == np.float32
        assert np.abs(samples).max(initial=0) <= 1


def read_labels(file: Path) -> None:
    """As the stages corpus and labels do."""
    rows = count_rows(file)
    table = read_annotation(file)
    assert len(table) == rows >= 1
    assert np.abs(table.valence[table.valid]).max(initial=0) <= 1
    assert np.abs(table.arousal[table.valid]).max(initial=0) <= 1
    assert np.isnan(table.valence[~table.valid]).all()


def read_crop(file: Path) -> None:
    """As the stage frames does with a folder of crops that has this one for frame 1."""
    (row,) = source_crop_rows([file.parent], np.zeros(1), jpeg_quality=95)
    assert row.frame == 1
    assert (row.jpeg is None) == (row.face_confidence == 0)
    if row.jpeg is not None:
        decode_crops([row.jpeg])  # as the stage features does


def _label_seeds() -> list[bytes]:
    rows = "".join(f"{i / 10 - 0.5:.4f},{0.3 - i / 12}\n" for i in range(9))
    return [
        f"valence,arousal\n{rows}".encode(),
        f"\ufeffvalence,arousal\n{rows}-5,-5\n0.1,-5.0\n\n".replace("\n", "\r\n").encode(),
        b"Valence, Arousal\n .5 , -2.5e-1\n+1.,-1\n1e-3,0\n",
    ]


def _crop_seeds() -> list[bytes]:
    smooth = cv2.resize(np.random.default_rng(0).integers(0, 255, (7, 7, 3), np.uint8), (112, 112))
    grey = smooth[:60, :80, 0]
    pictures = [
        (".jpg", smooth, []),
        (".jpg", grey, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
        (".jpg", smooth, [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]),
        (".png", smooth.astype(np.uint16) * 257, []),
        (".png", np.dstack([smooth, grey.max() - smooth[..., 0]]), []),
        (".png", (grey > 99).astype(np.uint8), [cv2.IMWRITE_PNG_BILEVEL, 1]),
        (".webp", smooth, []),
        (".tiff", grey, []),
        (".bmp", grey, []),
    ]
    return [cv2.imencode(kind, picture, options)[1].tobytes() for kind, picture, options in pictures]


def _source_seeds() -> list[bytes]:
    lines = [f"videos/b {i}/x.mp4\t{i * 1000}\t{'0123456789abcdef' * 4}" for i in range(4)]
    return ["".join(f"{line}\n" for line in (*lines, "cropped_aligned/x/\t7\tff")).encode()]


def _table_seeds() -> list[bytes]:
    values = {pa.string(): "a", pa.int64(): 7, pa.float64(): 0.5, pa.bool_(): True}
    values[pa.map_(pa.string(), pa.string())] = [("a", "b")]
    row = {field.name: values.get(field.type, ["b"]) for field in SCHEMA}
    seeds = []
    for compression, rows in (("zstd", 3), ("none", 40)):
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist([row] * rows, SCHEMA), sink, compression=compression)
        seeds.append(sink.getvalue().to_pybytes())
    return seeds


MEDIA_TOKENS = (
    *(b"#EXTM3U\n", b"ffconcat version 1.0\nfile other.mp4\n", b"file:other.mp4", b"concat:other.mp4|other.mp4"),
    *(b"subfile:,,start,0,end,9,,:other.mp4", b"data:video/mp4;base64,AAAA", b"http://127.0.0.1/other.mp4\n"),
    *(b"segment0.ts\n", b'URI="key.bin"', b"ftyp", b"moov", b"moof", b"mdat", b"dref", b"url ", b"alis", b"cmov"),
    *(b"RIFF", b"LIST", b"idx1", b"\x1aE\xdf\xa3", b"\x47", b"FLV\x01", b"\0\0\0\x01", b"\xff" * 8, b"\0" * 8),
)
YAML_TOKENS = (
    *SEPARATORS,
    *(
        b": ",
        b"- ",
        b"[",
        b"]",
        b"{",
        b"}",
        b"'",
        b'"',
        b"| ",
        b"? ",
        b"~",
        b"<<: ",
        b"&a ",
        b"*a",
        b"%YAML 9",
        b"---\n",
    ),
    *(b"!!int ", b"!!timestamp ", b"!!binary ", b"!!python/name:os.system ", b"2024-99-99", b"1:99:99", b"0x", b"1e-4"),
    *(b".inf", b".nan", b"null: 1\n", b"1: 2\n", b"9" * 5000, b"[" * 3000),
)
LABEL_TOKENS = (
    *SEPARATORS,
    *(b"-5", b"1.0001", b"nan", b"inf", b"1e999", b"\xd9\xa0", b"0" * 200_000),
    *(b"\xc2\xa0\n", b"\x1c\n", b"valence,arousal\n"),
)
TARGETS = {
    "media": Target("damaged.mp4", read_media, lambda: list(media_seeds().values()), MEDIA_TOKENS),
    "labels": Target("track.txt", read_labels, _label_seeds, LABEL_TOKENS),
    "crops": Target("00001.jpg", read_crop, _crop_seeds),
    "params": Target("params.yaml", load_params, lambda: [PARAMS.read_bytes()], YAML_TOKENS),
    "sources": Target(
        "sources.txt", read_sources, _source_seeds, (b"\t", b"\n", b"\xff", b"\xe2\x80\xa8", b"-1", b"\xd9\xa0")
    ),
    "tracks": Target("tracks.parquet", read_tracks, _table_seeds),
}
TARGETS |= OWN_DATA
TARGETS["bombs"] = Target("damaged.mp4", read_media, bomb_seeds, MEDIA_TOKENS)
