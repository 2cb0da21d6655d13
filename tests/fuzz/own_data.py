"""The readers of own data: the manifest, and label CSVs of its three forms."""

from pathlib import Path

import numpy as np

from avfusion.corpora.layout import TRACK_NAME
from avfusion.corpora.manifest import open_manifest
from avfusion.corpora.settings import CorpusSettings
from avfusion.data.label_times import labels_by_number, labels_by_time
from avfusion.data.own_labels import read_own_labels
from tests.fuzz.target import SEPARATORS, Target

TIMES_S = np.arange(12) / 25


def read_manifest(file: Path) -> None:
    """As the scan and the stage corpus do; the videos that it names lie beside it."""
    tracks = open_manifest(CorpusSettings(name="manifest", manifest=file.name), file.parent).tracks
    names = [track.track.casefold() for track in tracks]
    assert len(set(names)) == len(names) >= 1
    for track in tracks:
        assert TRACK_NAME.fullmatch(track.track)
        assert TRACK_NAME.fullmatch(track.video)
        assert ".." not in track.track + track.video
        assert track.split in ("train", "val", "test", "")
        assert (file.parent / track.video_path).is_file()
        assert np.isfinite(track.label_delay_s)


def read_label_csv(file: Path) -> None:
    """As the stages corpus and labels do, for a video of 12 frames."""
    labels = read_own_labels(file)
    assert len(labels) >= 1
    assert (np.diff(labels.stamps) > 0).all()
    tables = [labels_by_time(labels, TIMES_S, 0.48, delay_s) for delay_s in (0.0, 2.5, -0.1)]
    if labels.by != "time":
        tables.append(labels_by_number(labels, len(TIMES_S)))
    for table in tables:
        assert len(table) == len(TIMES_S)
        for values in (table.valence, table.arousal):
            assert np.abs(values[table.valid]).max(initial=0) <= 1 + 1e-6
            assert np.isnan(values[~table.valid]).all()


def _manifest_seeds() -> list[bytes]:
    return [
        b"video,track,split,crops,labels,label_delay_s\nother.mp4,first,train,,,2.5\nsegment0.ts,,val,,,\n",
        b'\xef\xbb\xbfVideo;Split;Track\r\nother.mp4;;\r\n\r\n"segment0.ts";test;"a b"\r\nother.mp4;test;c\r\n',
        b"video\nother.mp4\n",
        b"video\ttrack\nother.mp4\tone_left\nother.mp4\tone_right\n",
    ]


def _label_seeds() -> list[bytes]:
    rows = range(12)
    return [
        ("valence,arousal\n" + "".join(f"{i / 20},{-i / 20}\n" for i in rows)).encode(),
        ("frame;valence;arousal\r\n" + "".join(f"{i + 1};{i / 20};-5\r\n" for i in rows)).encode(),
        ("time,arousal,valence,note\n" + "".join(f'{i * 0.04:.3f},{i / 20},0.5,"a,b"\n' for i in rows)).encode(),
        b'"time"\t"valence"\t"arousal"\n0\t0\t0\n1e-1\t.5\t-1\n',
        ("sep=;\r\ntime;valence;arousal\r\n" + "".join(f"0,{i:02};-0,{i:02};1\r\n" for i in rows)).encode("utf-16"),
        (",rater,valence,arousal\n" + "".join(f"x,{i % 2},0.{i},0\n" for i in rows)).encode(),
    ]


OWN_DATA = {
    "manifest": Target(
        "manifest.csv",
        read_manifest,
        _manifest_seeds,
        (*SEPARATORS, b'"', b'"""', b"..", b"/", b"A" * 300, b"other.mp4", b"train", b"60.1", b"nan", b"9" * 200_000),
    ),
    "own_labels": Target(
        "own.csv",
        read_label_csv,
        _label_seeds,
        (
            *SEPARATORS,
            b'"',
            b"-5",
            b"1.0001",
            b"nan",
            b"1e999",
            b"-0",
            b"frame",
            b"time",
            b"1e300",
            b"0" * 200_000,
            b"sep=;\n",
            b"0,5",
            b"\xff\xfe",
        ),
    ),
}
