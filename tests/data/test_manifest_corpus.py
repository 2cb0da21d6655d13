"""Own videos from a manifest through scan, table, labels, frames and audio: what arrives, and what is made again."""

import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from avfusion.corpora.settings import CorpusSettings
from avfusion.corpora.sources import scan
from avfusion.corpora.table import Track, read_tracks, write_tracks
from avfusion.data.audio_store import update_audio
from avfusion.data.frame_store import update_frames
from avfusion.data.frames import read_frames, read_stamp
from avfusion.data.label_store import update_labels
from avfusion.data.labels import read_labels
from avfusion.data.settings import AudioSettings, FramesSettings
from avfusion.data.tracks import build_tracks
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.runtime.settings import ExecutionSettings

PARAMS = CorpusSettings(name="manifest")
SERIAL = ExecutionSettings(executor="serial", workers=1)
CLOCK_MS = [0, 40, 80, 200, 240, 280, 400, 433, 467, 500]
HEADER = "video,track,split,crops,labels,label_delay_s"
ROWS = [
    "talk.mp4,talk_left,train,,labels/time.csv,0.2",
    "talk.mp4,talk_right,train,,labels/row.csv,",
    "s1/cam.mkv,,val,crops/cam,labels/frame.csv,",
    "s1/cam.mkv,again,val,crops/cam,labels/clock.csv,",
    "s2/cam.mp4,two,,,,",
]


def write_uneven_video(path: Path, shade: int = 0) -> None:
    """Frames shown at `CLOCK_MS`, without sound."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        video.width = video.height = 64
        video.pix_fmt = "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        for index, at in enumerate(CLOCK_MS):
            image = np.full((64, 64, 3), shade + 10 * index, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = at, Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode())


def write_labels_csv(root: Path, name: str, header: str, rows: list[str]) -> None:
    (root / "labels").mkdir(exist_ok=True)
    (root / "labels" / f"{name}.csv").write_text("\n".join([header, *rows]))


@pytest.fixture
def root(tmp_path: Path, face_video: Path, silent_video: Path) -> Path:
    root = tmp_path / "own"
    for name in ("s1", "s2", "crops/cam"):
        (root / name).mkdir(parents=True)
    shutil.copyfile(face_video, root / "talk.mp4")
    shutil.copyfile(silent_video, root / "s2" / "cam.mp4")
    write_uneven_video(root / "s1" / "cam.mkv")
    for number in (2, 5, 12):
        (root / "crops" / "cam" / f"{number:05d}.jpg").write_bytes(b"no image")
    write_labels_csv(root, "row", "valence;arousal", [f"{i / 100};-0.5" for i in range(65)])
    write_labels_csv(root, "time", "time,valence,arousal", [f"{t / 10:.1f},{t / 50},0" for t in range(29)])
    write_labels_csv(root, "frame", "frame,valence,arousal", ["3,0.3,0", "1,0.1,0", "4,-5,0", "11,1,1"])
    write_labels_csv(root, "clock", "time,valence,arousal", [f"{t / 10:.1f},{t / 10},{-t / 10}" for t in range(6)])
    (root / "manifest.csv").write_text("\n".join([HEADER, *ROWS]))
    return root


def build(root: Path, place: Path) -> list[Track]:
    scan(root, PARAMS, place / "sources.txt")
    write_tracks(place / "t.parquet", build_tracks(root, PARAMS, place / "sources.txt", execution=SERIAL))
    return read_tracks(place / "t.parquet")


def test_through_all_stages(root: Path, tmp_path: Path) -> None:
    tracks = build(root, tmp_path)
    assert {track.track: (track.video, track.video_path) for track in tracks} == {
        "again": ("again", "s1/cam.mkv"),
        "cam": ("again", "s1/cam.mkv"),
        "talk_left": ("talk", "talk.mp4"),
        "talk_right": ("talk", "talk.mp4"),
        "two": ("two", "s2/cam.mp4"),
    }
    table = {track.track: track for track in tracks}
    assert (table["talk_left"].label_format, table["talk_left"].label_delay_s) == ("csv", 0.2)
    assert [table[name].label_rows for name in ("talk_left", "talk_right", "cam", "two")] == [29, 65, 4, 0]
    assert table["talk_left"].warnings == table["talk_right"].warnings == ()
    assert table["cam"].warnings == (
        "no audio stream: the audio is absent in every clip",
        "the labels are not in the order of their column frame (1 step back): sorted",
        "1 labels of frames beyond the last of 10 video frames are not used",
        "7 of 10 video frames have no label",
        "1 crops beyond the last of 10 video frames are not used",
        "8 of 10 video frames have no crop",
    )

    folder = tmp_path / "labels"
    assert update_labels(folder, root, tracks, SERIAL).made == ("again", "cam", "talk_left", "talk_right")
    labels = {track: read_labels(folder / f"{track}.parquet") for track in ("again", "cam", "talk_left", "talk_right")}
    np.testing.assert_allclose(labels["again"].valence, np.array(CLOCK_MS) / 1000, atol=1e-3)
    np.testing.assert_array_equal(labels["again"].arousal, -labels["again"].valence)
    assert np.flatnonzero(labels["cam"].valid).tolist() == [0, 2]
    np.testing.assert_allclose(labels["cam"].valence[[0, 2]], [0.1, 0.3], atol=1e-7)
    np.testing.assert_allclose(labels["talk_left"].valence, (np.arange(65) / 25 + 0.2) / 5, atol=1e-6)
    np.testing.assert_allclose(labels["talk_right"].valence, np.arange(65) / 100, atol=1e-7)

    frames = update_frames(
        tmp_path / "frames", tmp_path / "faces", root, tracks, FramesSettings(detect_every=20), SERIAL
    )
    assert frames.failed == {}
    uneven = read_frames(tmp_path / "frames" / "cam.parquet")
    np.testing.assert_allclose(uneven.time_s * 1000, CLOCK_MS, atol=0.6)
    assert len(read_frames(tmp_path / "frames" / "talk_left.parquet").frame) == 65
    assert [table[f"talk_{side}"].side for side in ("left", "right")] == ["left", "right"]
    sides = {read_stamp(tmp_path / "frames" / f"talk_{side}.parquet").made for side in ("left", "right")}
    assert len(sides) == 2, "each follows its own person"

    assert update_audio(tmp_path / "audio", root, tracks, AudioSettings(), SERIAL).made == ("talk",)


def test_labels_are_made_again_where_they_may_differ(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    made = update_labels(folder, root, build(root, tmp_path), SERIAL).made
    before = {name: (folder / f"{name}.parquet").read_bytes() for name in made}
    assert update_labels(folder, root, build(root, tmp_path), SERIAL).made == ()
    # Another picture at the same times: only labels that were resampled to the frames' times depend on the video.
    write_uneven_video(root / "s1" / "cam.mkv", shade=90)
    assert update_labels(folder, root, build(root, tmp_path), SERIAL).made == ("again",)
    rows = [ROWS[0].replace("0.2", "0.24"), f"{ROWS[1]}0.04", f"{ROWS[2]}0", f"{ROWS[3]}-0.0", ROWS[4]]
    (root / "manifest.csv").write_text("\n".join([HEADER, *rows]))
    assert update_labels(folder, root, build(root, tmp_path), SERIAL).made == ("talk_left", "talk_right")
    late = read_labels(folder / "talk_right.parquet")
    np.testing.assert_allclose(late.valence[:64], np.arange(1, 65) / 100, atol=1e-7)
    assert np.flatnonzero(~late.valid).tolist() == [64]
    (root / "manifest.csv").write_text("\n".join([HEADER, *ROWS[1:]]))
    report = update_labels(folder, root, build(root, tmp_path), SERIAL)
    assert (report.made, report.removed) == (("talk_right",), ("talk_left",))
    (root / "manifest.csv").write_text("\n".join([HEADER, *ROWS]))
    assert update_labels(folder, root, build(root, tmp_path), ExecutionSettings(workers=2)).made == ("talk_left",)
    names = [name for name in made if name != "again"]
    assert [(folder / f"{name}.parquet").read_bytes() for name in names] == [before[name] for name in names]


def test_bad_label_files_are_listed_before_anything_is_made(root: Path, tmp_path: Path) -> None:
    write_labels_csv(root, "time", "time,valence,arousal", ["0,0,0", "x,0,0"])
    write_labels_csv(root, "frame", "frame,valence", ["1,2"])
    with pytest.raises(BadInputError) as error:
        build(root, tmp_path)
    text = str(error.value)
    assert text.startswith("2 of 4 annotation files cannot be used: ")
    assert "labels/time.csv, line 3: column time: 'x': must be seconds from" in text
    assert "labels/frame.csv, line 1: there is no column arousal" in text


def test_files_with_faults_and_files_of_other_videos_are_listed_in_one_go(root: Path, tmp_path: Path) -> None:
    write_labels_csv(root, "frame", "Sekunde;valence;arousal", ["0;0;0", "1;0;0"])
    write_labels_csv(root, "row", "valence,arousal", ["0,0"] * 33)
    rows = [f"{36000 + i / 25:.2f},0,0" for i in range(60)]
    write_labels_csv(root, "time", "time,valence,arousal", rows)
    with pytest.raises(BadInputError) as error:
        build(root, tmp_path)
    text = str(error.value)
    assert error.value.exit_code == 2
    assert text.startswith("3 of 4 annotation files cannot be used: ")
    assert "labels/frame.csv, line 1: column 'sekunde' looks as if it said where the rows belong" in text
    assert "labels/row.csv: 33 rows for the 65 frames of its video (12.7 rows a second): without a column" in text
    assert "labels/time.csv: its times begin at 36000 s, beyond the video's 2.6 s: " in text
    write_labels_csv(root, "frame", "frame;valence;arousal", ["1;0,5;0", "2;-0,5;0"])
    write_labels_csv(root, "row", "valence,arousal", ["0,0"] * 64)  # one fewer than frames
    (root / "labels" / "time.csv").write_bytes("sep=;\r\ntime;valence;arousal\r\n0;0,5;0\r\n".encode("utf-16"))
    tracks = build(root, tmp_path)
    update_labels(tmp_path / "labels", root, tracks, SERIAL)
    assert read_labels(tmp_path / "labels" / "cam.parquet").valence[:2].tolist() == [0.5, -0.5]
    assert read_labels(tmp_path / "labels" / "talk_right.parquet").valid.sum() == 64


def test_videos_and_labels_that_changed_after_the_scan_are_named(root: Path, tmp_path: Path) -> None:
    tracks = build(root, tmp_path)
    write_uneven_video(root / "s1" / "cam.mkv", shade=90)  # as many frames, at the same times
    with pytest.raises(AVFusionError, match=r"1 of 4 failed: again: .*cam\.mkv changed since the last scan"):
        update_labels(tmp_path / "labels", root, tracks, SERIAL)
    assert sorted(path.stem for path in (tmp_path / "labels").iterdir()) == ["cam", "talk_left", "talk_right"]
    write_labels_csv(root, "row", "valence,arousal", ["0,0"])
    with pytest.raises(BadInputError, match=r"1 annotation files changed since the last scan \(labels/row\.csv\)"):
        update_labels(tmp_path / "labels", root, tracks, SERIAL)
