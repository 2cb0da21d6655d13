"""The table of tracks and the label store on real small videos with everything that may disagree."""

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from avfusion.corpora.settings import CorpusSettings
from avfusion.corpora.sources import read_sources, scan
from avfusion.corpora.table import read_tracks, write_tracks
from avfusion.data.label_store import update_labels
from avfusion.data.labels import read_labels
from avfusion.data.tracks import build_tracks, shared_digest
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.settings import ExecutionSettings

PARAMS = CorpusSettings(name="affwild2")
SERIAL = ExecutionSettings(executor="serial", workers=1)
PROCESSES = ExecutionSettings(executor="processes", workers=2)


def write_video(path: Path, frames: int, sound: bool = True, rate: int = 25) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast"})
        video.width = video.height = 64
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=44100, layout="mono") if sound else None
        for index in range(frames):
            image = np.full((64, 64, 3), 10 * index % 256, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(video.encode())
        if audio:
            wave = av.AudioFrame.from_ndarray(np.zeros((1, 1024 * 20), np.float32), format="fltp", layout="mono")
            wave.sample_rate = 44100
            container.mux(audio.encode(wave))
            container.mux(audio.encode())


def write_rows(path: Path, rows: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("valence,arousal\n" + "".join(f"{i / 100},{-i / 100}\n" for i in range(rows)))


def write_crops(folder: Path, numbers) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (folder / f"{number:05d}.jpg").write_bytes(b"jpeg")


@pytest.fixture(scope="session")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small-videos")
    write_video(folder / "good.mp4", 12)
    write_video(folder / "mute.mp4", 9, sound=False, rate=30)
    return folder


@pytest.fixture
def root(tmp_path, videos):
    """good: all agrees; more: a row and two crops too many; mute: too few rows, no sound; pair_left: shares good."""
    root = tmp_path / "raw"
    for name, source in {"good": "good", "more": "good", "mute": "mute", "tested": "mute"}.items():
        (root / "videos" / "b").mkdir(parents=True, exist_ok=True)
        (root / "videos" / "b" / f"{name}.mp4").write_bytes((videos / f"{source}.mp4").read_bytes())
    va = root / "annotations" / "VA_Set"
    for name, rows in {
        "Train_Set/good": 12,
        "Train_Set/good_left": 7,
        "Train_Set/more": 13,
        "Validation_Set/mute": 4,
    }.items():
        write_rows(va / f"{name}.txt", rows)
    (va / "Valence_Arousal_test_set_release.txt").write_text("tested\n")
    write_crops(root / "cropped_aligned" / "good", range(1, 13))
    write_crops(root / "cropped_aligned" / "more", [1, 2, 5, 13, 14])
    write_crops(root / "cropped_aligned_new_50_vids" / "more", [2, 3])
    (root / "cropped_aligned" / "more" / "Thumbs.db").touch()
    return root


def build(root, tmp_path, execution=SERIAL, **options):
    sources = tmp_path / "sources.txt"
    scan(root, PARAMS, sources)
    return build_tracks(root, PARAMS, sources, execution=execution, **options)


def test_facts_hashes_and_every_disagreement(root, tmp_path):
    tracks = {track.track: track for track in build(root, tmp_path)}
    sources = read_sources(tmp_path / "sources.txt")
    good, more, mute, left, tested = (tracks[name] for name in ("good", "more", "mute", "good_left", "tested"))
    assert (good.frames, good.fps, good.has_audio, good.label_rows, good.crops) == (12, 25.0, True, 12, 12)
    assert good.duration_s == pytest.approx(12 / 25)
    assert good.warnings == ()
    assert good.video_hash == sources["videos/b/good.mp4"].digest
    assert good.labels_hash == sources["annotations/VA_Set/Train_Set/good.txt"].digest
    assert (left.video, left.frames, left.video_hash) == ("good", 12, good.video_hash)
    assert left.warnings == (
        "no crops: faces are detected in the video",
        "7 label rows for 12 video frames: the last 5 frames have no label",
    )
    assert more.crops == 6
    assert more.crops_hash == "+".join(
        sources[f"{folder}/more/"].digest for folder in ("cropped_aligned", "cropped_aligned_new_50_vids")
    )
    assert more.warnings == (
        "13 label rows for 12 video frames: the last 1 are not used",
        "2 crops beyond the last of 12 video frames are not used",
        "8 of 12 video frames have no crop",
        "1 files among the crops are no numbered images, e.g. Thumbs.db",
        "1 crops repeat a frame that has one",
    )
    assert not mute.has_audio
    assert "no audio stream: the audio is absent in every clip" in mute.warnings
    assert mute.fps == pytest.approx(30, abs=0.01)
    assert (tested.split, tested.labels_path, tested.label_rows) == ("test", "", 0)


def test_processes_give_the_same_table_byte_for_byte_and_it_round_trips(root, tmp_path):
    serial, parallel = build(root, tmp_path), build(root, tmp_path, PROCESSES)
    assert serial == parallel
    write_tracks(tmp_path / "a.parquet", serial)
    write_tracks(tmp_path / "b.parquet", list(reversed(parallel)))
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert read_tracks(tmp_path / "a.parquet") == serial


def test_a_video_is_probed_once_and_again_when_it_changed(root, tmp_path, capsys):
    cache = tmp_path / "probes.json"
    first = build(root, tmp_path, cache=cache)
    assert "probing videos: 4/4" in capsys.readouterr().out
    assert build(root, tmp_path, cache=cache) == first
    assert "probing" not in capsys.readouterr().out
    write_video(root / "videos" / "b" / "mute.mp4", 4)
    again = {track.track: track for track in build(root, tmp_path, cache=cache)}
    assert "probing videos: 1/1" in capsys.readouterr().out
    assert (again["mute"].frames, again["mute"].has_audio) == (4, True)


def test_unreadable_videos_fail_by_name_or_are_kept_with_the_reason(root, tmp_path):
    (root / "videos/b/mute.mp4").write_text("this is a text file\n")
    (root / "videos/b/tested.mp4").write_bytes(b"")
    with pytest.raises(BadInputError) as error:
        build(root, tmp_path)
    assert sorted(error.value.failures) == ["videos/b/mute.mp4", "videos/b/tested.mp4"]
    assert str(error.value) == (
        "corpus: videos: 2 of 4 failed: videos/b/mute.mp4: cannot be read as media: it is a text file, not a video; "
        "videos/b/tested.mp4: is empty (0 bytes): repair them, or set common.on_error: skip to go on without them"
    )
    tracks = build(root, tmp_path, on_error="skip")
    write_tracks(tmp_path / "tracks.parquet", tracks)
    assert [track.track for track in read_tracks(tmp_path / "tracks.parquet")] == ["good", "good_left", "more"]
    failed = [track for track in read_tracks(tmp_path / "tracks.parquet", unusable=True) if not track.frames]
    assert [track.track for track in failed] == ["mute", "tested"]
    reason = "cannot be read as media: it is a text file, not a video"
    assert f"unreadable video: videos/b/mute.mp4: {reason}" in failed[0].warnings


def test_the_table_does_not_tell_where_the_corpus_lies(root, tmp_path):
    (root / "videos/b/mute.mp4").write_text("this is a text file\n")
    (root / "videos/b/tested.mp4").write_bytes((root / "videos/b/good.mp4").read_bytes()[:900])
    tables = []
    for place in ("raw", "elsewhere/deeper"):
        moved = tmp_path / place
        moved.parent.mkdir(exist_ok=True)
        root = root.rename(moved)
        tables.append(build(root, tmp_path, on_error="skip"))
        write_tracks(tmp_path / f"{len(tables)}.parquet", tables[-1])
    assert tables[0] == tables[1]
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()


def test_sources_of_no_single_track_are_part_of_the_table(root, tmp_path):
    def table(name):
        tracks = build(root, tmp_path)
        write_tracks(tmp_path / name, tracks, shared_digest(tracks, tmp_path / "sources.txt"))
        return tracks, (tmp_path / name).read_bytes()

    first, before = table("a.parquet")
    assert table("b.parquet")[1] == before
    test_list = root / "annotations/VA_Set/Valence_Arousal_test_set_release.txt"
    test_list.write_text("tested\n\n")
    tracks, after = table("c.parquet")
    assert tracks == first
    assert after != before
    test_list.write_text("tested\n\n\n")
    with pytest.raises(
        BadInputError, match=r"1 sources .*\(annotations/VA_Set/Valence_Arousal_test_set_release\.txt\)"
    ):
        build_tracks(root, PARAMS, tmp_path / "sources.txt", execution=SERIAL)


def test_labels_without_a_video_are_a_warning(root, tmp_path):
    write_rows(root / "annotations/VA_Set/Train_Set/gone.txt", 5)
    gone = {track.track: track for track in build(root, tmp_path)}["gone"]
    assert (gone.frames, gone.label_rows) == (0, 5)
    assert "no video 'gone' below videos/: the track cannot be used" in gone.warnings


@pytest.mark.parametrize("last", ["-5,0", "-0.5,0", "-5e-1,0"])
def test_labels_of_which_none_is_annotated_are_a_warning(root, tmp_path, last):
    path = root / "annotations/VA_Set/Train_Set/good.txt"
    path.write_text("valence,arousal\n" + "-5,-5\n-5.0,0.25\n" * 5 + f"0.5,-5\n{last}\n")
    good = {track.track: track for track in build(root, tmp_path)}["good"]
    assert good.warnings == (("nothing is annotated: every label is -5",) if last == "-5,0" else ())


def test_times_in_milliseconds_are_refused(videos, tmp_path):
    root = tmp_path / "own"
    root.mkdir()
    (root / "a.mp4").write_bytes((videos / "good.mp4").read_bytes())
    (root / "b.mp4").write_bytes((videos / "mute.mp4").read_bytes())
    (root / "a.csv").write_text("time,valence,arousal\n" + "".join(f"{40 * i},0,0\n" for i in range(12)))
    (root / "b.csv").write_text("time,valence,arousal\n0,0,0\n0.3,0,0\n9,0,0\n")
    (root / "manifest.csv").write_text("video,split,labels\na.mp4,train,a.csv\nb.mp4,val,b.csv\n")
    params = CorpusSettings(name="manifest")
    scan(root, params, tmp_path / "sources.txt")
    words = r"^1 of 2 .*: a\.csv: its column time runs to 440, its video lasts 0\.48 s: these are milliseconds"
    with pytest.raises(BadInputError, match=words):
        build_tracks(root, params, tmp_path / "sources.txt", execution=SERIAL)


def test_files_that_changed_since_the_scan_are_named(root, tmp_path):
    scan(root, PARAMS, tmp_path / "sources.txt")
    (root / "videos/b/mute.mp4").write_bytes(b"longer than before" * 1000)
    write_crops(root / "cropped_aligned" / "mute", [1])
    with pytest.raises(
        BadInputError, match=r"2 sources .*\(cropped_aligned/mute, videos/b/mute\.mp4\): run `avfusion sc"
    ):
        build_tracks(root, PARAMS, tmp_path / "sources.txt", execution=SERIAL)


def test_damaged_tables_are_refused(tmp_path):
    with pytest.raises(BadInputError, match=r"tracks\.parquet is missing: run the stage `corpus`"):
        read_tracks(tmp_path / "tracks.parquet")
    (tmp_path / "tracks.parquet").write_text("not parquet")
    with pytest.raises(BadInputError, match="is not a table of tracks"):
        read_tracks(tmp_path / "tracks.parquet")


def test_labels_are_the_intersection_of_rows_and_frames(root, tmp_path):
    tracks, folder = build(root, tmp_path), tmp_path / "labels"
    report = update_labels(folder, root, tracks, SERIAL)
    assert report.made == ("good", "good_left", "more", "mute")
    assert sorted(path.name for path in folder.iterdir()) == [f"{name}.parquet" for name in report.made]
    assert [len(read_labels(folder / f"{name}.parquet")) for name in report.made] == [12, 7, 12, 4]
    np.testing.assert_allclose(read_labels(folder / "more.parquet").arousal, -np.arange(12) / 100, atol=1e-7)


def test_a_lag_takes_the_label_of_each_target_from_later(root, tmp_path):
    tracks, folder = build(root, tmp_path), tmp_path / "labels"
    names = update_labels(folder, root, tracks, SERIAL).made
    before = (folder / "good.parquet").read_bytes()
    assert update_labels(folder, root, tracks, SERIAL, lags_s=(0.08, 0.16)).made == names
    good, more = (read_labels(folder / f"{name}.parquet") for name in ("good", "more"))  # 12 frames, 25 a second
    assert good.valid.tolist() == [True] * 8 + [False] * 4
    np.testing.assert_allclose(good.valence[:8], np.arange(2, 10) / 100, atol=1e-6)
    np.testing.assert_allclose(good.arousal[:8], -np.arange(4, 12) / 100, atol=1e-6)
    assert np.isnan(good.valence[8:]).all()
    assert more.valid.sum() == 9, "a row beyond the last frame goes on at the video's rate"
    assert update_labels(folder, root, tracks, SERIAL, lags_s=(0.08, 0.16)).kept == names
    assert update_labels(folder, root, tracks, SERIAL).made == names
    assert (folder / "good.parquet").read_bytes() == before


def test_only_changed_labels_are_made_anew(root, tmp_path):
    tracks, folder = build(root, tmp_path), tmp_path / "labels"
    update_labels(folder, root, tracks, SERIAL)
    write_rows(root / "annotations/VA_Set/Train_Set/good.txt", 3)
    (root / "annotations/VA_Set/Validation_Set/mute.txt").unlink()
    report = update_labels(folder, root, build(root, tmp_path), SERIAL)
    assert (report.made, report.kept, report.removed) == (("good",), ("good_left", "more"), ("mute",))
    longer = [replace(track, frames=track.frames + 1) for track in build(root, tmp_path)]
    assert update_labels(folder, root, longer, SERIAL).made == ("good", "good_left", "more")


def test_all_bad_label_files_are_listed_and_nothing_is_written(root, tmp_path):
    (root / "annotations/VA_Set/Train_Set/good.txt").write_text("valence,arousal\n2,0\n")
    (root / "annotations/VA_Set/Train_Set/more.txt").write_text("Neutral,Anger\n0,0\n")
    with pytest.raises(BadInputError, match=r"2 of 4 .*Train_Set/good\.txt, line 2: '2,0'.*more\.txt, line 1") as error:
        update_labels(tmp_path / "labels", root, build(root, tmp_path), SERIAL)
    assert error.value.exit_code == 2
    assert not (tmp_path / "labels").exists()


def test_labels_that_changed_after_the_scan_are_refused(root, tmp_path):
    tracks = build(root, tmp_path)
    write_rows(root / "annotations/VA_Set/Train_Set/good.txt", 11)
    with pytest.raises(BadInputError, match=r"1 annotation files changed since the last scan \(annotations/VA_Set/Tr"):
        update_labels(tmp_path / "labels", root, tracks, SERIAL)
