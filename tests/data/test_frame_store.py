import csv
import re
import shutil

import av
import cv2
import numpy as np
import pytest

from avfusion.data.frame_store import update_frames
from avfusion.data.frames import decode_crops, encode_crop, read_frames
from avfusion.data.settings import FramesSettings
from avfusion.media.probe import probe
from avfusion.runtime.errors import AVFusionError
from avfusion.runtime.settings import ExecutionSettings
from tests.media.crossings import CROSSINGS, render

SERIAL = ExecutionSettings(executor="serial", workers=1)
SETTINGS = FramesSettings(detect_every=5)


@pytest.fixture
def corpus(tmp_path, face_video, make_track, scanned):
    """A root with one video without crops and one with a single crop, as a store and a function to update it."""
    root = tmp_path / "raw"
    (root / "crops").mkdir(parents=True)
    for name in ("found.mp4", "given.mp4"):
        shutil.copyfile(face_video, root / name)
    (root / "crops" / "00003.jpg").write_bytes(encode_crop(np.full((112, 112, 3), 77, np.uint8), 90))
    tracks = [
        make_track("found", "found.mp4"),
        make_track("given", "given.mp4", crops_paths=("crops",)),
    ]

    def update(tracks=tracks, settings=SETTINGS, scan=True, **options):
        known = scanned(root, tracks) if scan else tracks
        return update_frames(tmp_path / "frames", tmp_path / "faces", root, known, settings, SERIAL, **options)

    update.tracks, update.root, update.out = tracks, root, tmp_path
    return update


def _summary(folder):
    with (folder / "faces" / "summary.csv").open(newline="") as stream:
        return {row["track"]: row for row in csv.DictReader(stream)}


def test_detected_and_given_crops(corpus):
    assert corpus().made == ("found", "given")
    found, given = (read_frames(corpus.out / "frames" / f"{name}.parquet") for name in ("found", "given"))
    assert len(found.frame) == len(given.frame) == 65
    np.testing.assert_allclose(found.time_s, np.arange(65) / 25, atol=1e-6)
    assert found.face_present.mean() > 0.95
    assert (found.face_confidence[found.face_present] >= SETTINGS.min_confidence).all()
    assert np.flatnonzero(given.face_present).tolist() == [2]
    assert given.jpeg[2] == (corpus.root / "crops" / "00003.jpg").read_bytes()
    summary = _summary(corpus.out)
    assert (summary["given"]["frames"], summary["given"]["face_share"]) == ("65", "0.0154")
    assert (summary["found"]["source"], summary["given"]["source"]) == ("detected", "crops of the corpus")
    sheet = cv2.imread(str(corpus.out / "faces" / "found.jpg"))
    assert sheet.shape == (660, 1224, 3)


def test_golden_values(corpus):
    corpus()
    found = read_frames(corpus.out / "frames" / "found.parquet")
    crop = decode_crops([found.jpeg[7]])[0].astype(float)
    assert found.face_confidence[7] == pytest.approx(GOLDEN_CONFIDENCE, abs=1e-3)
    np.testing.assert_allclose(crop[20:100, 20:90].mean(axis=(0, 1)), GOLDEN_COLOUR, atol=1.0)
    np.testing.assert_allclose(crop[50:54, 36:41].mean(), GOLDEN_EYE, atol=4.0)


GOLDEN_CONFIDENCE, GOLDEN_COLOUR, GOLDEN_EYE = 0.99964, (186.5, 154.4, 127.8), 71.7


def test_cuts_of_the_track_are_remarked_and_shown(corpus, make_track):
    """Two alike who meet, as one track and as the left one of two."""
    alike = next(crossing for crossing in CROSSINGS if crossing.name == "meet, alike")
    render(alike, corpus.root / "meet.mp4")
    corpus(tracks=[make_track("meet", "meet.mp4"), make_track("meet_left", "meet.mp4", video="meet", side="left")])
    for name, row in _summary(corpus.out).items():
        assert "track cut once (unclear who is who), at " in row["remarks"], name
        cut = float(re.search(r"at (\d\.\d) s", row["remarks"])[1])
        sheet = cv2.imread(str(corpus.out / "faces" / f"{name}.jpg")).astype(int)
        above_bar = sheet[67:69].sum(axis=(0, 2)) < 600
        marked = np.flatnonzero(above_bar)
        assert marked.mean() == pytest.approx(16 + cut / 4 * 1192, abs=20)
    assert "several faces at the same time" in _summary(corpus.out)["meet"]["remarks"]


def test_only_what_changed_is_made_again(corpus):
    corpus()
    files = [corpus.out / "frames" / "found.parquet", corpus.out / "faces" / "found.jpg"]
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in files]
    report = corpus()
    assert (report.made, report.kept) == ((), ("found", "given"))
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in files] == before
    # The detector's settings concern only tracks whose faces are detected.
    assert corpus(settings=FramesSettings(detect_every=10)).made == ("found",)
    assert corpus(settings=FramesSettings(detect_every=10, jpeg_quality=80)).made == ("found", "given")
    assert files[1].stat().st_mtime_ns != before[1][1]
    assert corpus(settings=FramesSettings(detect_every=10, jpeg_quality=80, min_face=300)).made == ("found",)
    remarks = _summary(corpus.out)["found"]["remarks"]
    assert remarks.startswith("no face of 300 pixels or more at 640 wide was found in any frame: lower frames.min_face")


def test_files_of_no_track_and_unwanted_sheets_go(corpus):
    corpus()
    corpus(tracks=corpus.tracks[:1], settings=FramesSettings(detect_every=5, contact_sheets=False))
    assert [path.name for path in (corpus.out / "frames").iterdir()] == ["found.parquet"]
    assert [path.name for path in (corpus.out / "faces").iterdir()] == ["summary.csv"]


def test_what_the_packets_tell_is_left_to_the_table_of_tracks(corpus, face_video):
    """Both read the same clock of the video, and a remark is made once."""
    path = corpus.root / "given.mp4"
    with av.open(str(face_video)) as source, av.open(str(path), "w", options={"movflags": "faststart"}) as target:
        streams = [target.add_stream_from_template(stream) for stream in source.streams]
        for packet in source.demux():
            if packet.size:
                packet.stream = streams[packet.stream_index]
                target.mux(packet)
    with av.open(str(path)) as container:
        last = [packet.pos for packet in container.demux() if packet.size and packet.pts * packet.time_base >= 2.3]
    path.write_bytes(path.read_bytes()[: min(last)])
    (remark,) = probe(path).warnings
    assert remark.startswith("the header promises 0.")
    corpus(tracks=corpus.tracks[1:])
    assert _summary(corpus.out)["given"]["remarks"] == ""


def test_what_changed_since_the_scan_is_refused(corpus, scanned, face_video, short_video):
    known = scanned(corpus.root, corpus.tracks)
    shutil.copyfile(short_video, corpus.root / "found.mp4")
    shutil.copyfile(short_video, corpus.root / "given.mp4")
    report = corpus(tracks=known, scan=False, on_error="skip")
    assert report.failed.keys() == {"found", "given"}
    assert all("changed since the last scan" in reason for reason in report.failed.values())
    assert list((corpus.out / "frames").iterdir()) == []
    assert _summary(corpus.out)["found"]["remarks"].startswith("changed since the last scan"), (
        "no place of this machine"
    )
    shutil.copyfile(face_video, corpus.root / "found.mp4")
    assert corpus(tracks=known[:1], scan=False).made == ("found",)


def test_crops_that_changed_since_the_scan_are_refused(corpus, scanned):
    folder = corpus.root / "crops"
    for name in (".DS_Store", "strange.txt", "00003.png", "00400.jpg", "00005.jpg"):
        (folder / name).write_bytes(b"x" if name != "00005.jpg" else b"")
    (folder / "folder").mkdir()
    known = scanned(corpus.root, corpus.tracks)[1:]
    assert corpus(tracks=known, scan=False).made == ("given",)
    for name, content in (("00003.jpg", b"another"), ("00007.jpg", b"one more"), ("strange.txt", b"longer")):
        before = (folder / name).read_bytes() if (folder / name).exists() else None
        (corpus.out / "frames" / "given.parquet").unlink(missing_ok=True)
        (folder / name).write_bytes(content)
        reason = corpus(tracks=known, scan=False, on_error="skip").failed["given"]
        assert re.search(r"crops changed since the last scan: run `avfusion scan`", reason), name
        (folder / name).unlink() if before is None else (folder / name).write_bytes(before)
    (folder / ".DS_Store").write_bytes(b"of no weight")
    assert corpus(tracks=known, scan=False).made == ("given",)


def test_a_failing_video_is_recorded_and_the_others_go_on(corpus, make_track):
    (corpus.root / "bad.mp4").write_text("no video\n" * 30)
    tracks = [make_track("bad", "bad.mp4"), corpus.tracks[1]]
    with pytest.raises(AVFusionError, match=r"frames: 1 of 2 failed: bad: .*text file"):
        corpus(tracks=tracks)
    assert sorted(path.name for path in (corpus.out / "frames").iterdir()) == ["given.parquet"]
    assert (corpus.out / "faces" / "given.jpg").is_file()
    assert _summary(corpus.out)["bad"]["source"] == "failed"
    assert corpus(tracks=tracks, on_error="skip").failed.keys() == {"bad"}
