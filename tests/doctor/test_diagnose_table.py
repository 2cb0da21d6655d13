"""The doctor's findings where the stage `corpus` has made its table of tracks."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avfusion.corpora.adapters import corpus_root
from avfusion.corpora.table import Track, read_tracks, write_tracks
from avfusion.data.own_labels import OwnLabels
from avfusion.data.tracks import build_tracks, shared_digest
from avfusion.doctor import diagnose
from avfusion.doctor.corpus import CorpusState, _label_item
from avfusion.params.params import load_params
from avfusion.runtime.settings import ExecutionSettings


def found(report):
    return {item.name: item for item in report.items}


def build_table(project: Path) -> list[Track]:
    """What the stage `corpus` does."""
    params = load_params(project / "params.yaml").corpus
    sources = project / "data" / "sources.txt"
    tracks = build_tracks(
        corpus_root(project, params),
        params,
        sources,
        execution=ExecutionSettings(executor="serial", workers=1),
        on_error="skip",
        cache=project / ".avfusion" / "corpus" / "probes.json",
    )
    write_tracks(project / "data" / "corpus" / "tracks.parquet", tracks, shared_digest(tracks, sources))
    return tracks


@pytest.fixture
def tabled_project(corpus_project, rescan, face_video):
    """With real videos, and the table of tracks made: a (65 frames) and its double, b and v (65), bad, gone."""
    data = corpus_project.parent / "data"
    for name in ("videos/a.mp4", "videos/more/a.mp4", "videos/b.mp4", "videos/v.mp4"):
        (data / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(face_video, data / name)
    (data / "videos" / "bad.mp4").write_text("not a video")
    (data / "annotations/VA_Set/Train_Set/bad.txt").write_text("valence,arousal\n0,0\n")
    (data / "cropped_aligned/a/junk.txt").touch()
    rescan(corpus_project)
    build_table(corpus_project)
    return corpus_project


def test_with_the_table_of_tracks_its_warnings_are_reported_and_no_others(tabled_project):
    table = read_tracks(tabled_project / "data/corpus/tracks.parquet", unusable=True)
    report = diagnose(tabled_project)
    assert report.tracks == {track.track: track.warnings for track in table if track.warnings}
    assert report.tracks["a"] == (
        "2 videos have this name (videos/a.mp4, videos/more/a.mp4): the first is used",
        "1 label rows for 65 video frames: the last 64 frames have no label",
        "64 of 65 video frames have no crop",
        "1 files among the crops are no numbered images, e.g. junk.txt",
    )
    assert report.tracks["bad"][-1].startswith("unreadable video: videos/bad.mp4: cannot be read as media")
    item = found(report)["table of tracks"]
    assert (item.status, item.text) == ("ok", "5 tracks, from the current sources")
    train = report.splits["train"]
    assert (train.no_video, train.unreadable, train.rows_disagree, train.frames) == (1, 1, 1, 65)
    assert found(report)["train"].text == (
        "3 tracks of 3 videos; 1 without their video; 1 unreadable; 1 without crops (faces will be detected); "
        "1 with more or fewer label rows than frames"
    )
    assert (report.cost.frames, report.cost.assumed_videos) == (195, 0)
    assert report.cost.hours == round(3 * 2.6 / 3600, 2)


def test_times_in_milliseconds_are_named_once_their_video_is_known(tabled_project):
    row = next(track for track in read_tracks(tabled_project / "data/corpus/tracks.parquet") if track.track == "a")
    pair = [replace(row, track=name, labels_path="ms.csv", label_format="csv") for name in ("a_left", "a_right")]
    stamps = np.arange(0, 2700, 100.0)
    labels = OwnLabels("time", stamps, np.zeros((len(stamps), 2)), np.ones(len(stamps), bool))
    own = {track.track: labels for track in pair}
    item = _label_item(CorpusState(tuple(pair), frozenset(own), {}, True, own), {})
    assert item.status == "missing"
    assert item.text.startswith("1 of 1 annotation file cannot be used:\nms.csv: its column time runs to 2600")
    rows = OwnLabels("row", np.arange(1.0, 34), np.zeros((33, 2)), np.ones(33, bool))
    item = _label_item(CorpusState(tuple(pair), frozenset(own), {}, True, dict.fromkeys(own, rows)), {})
    assert item.text.splitlines()[1].startswith("ms.csv: 33 rows for the 65 frames of its video (12.7 rows a second)")
    unseen = tuple(replace(track, frames=0) for track in pair)
    assert _label_item(CorpusState(unseen, frozenset(), {}, True, own), {}).text == "1 annotation file can be read"


def test_a_target_that_is_never_negative_is_remarked():
    def labels(valence, arousal):
        return OwnLabels("row", np.array([1.0, 2]), np.array([valence, arousal]).T, np.array([True, False]))

    def remark(*own):
        item = _label_item(CorpusState((), frozenset(), {}, True, dict(enumerate(own))), {})
        return item.status, item.text.partition("; ")[2]

    high = labels([0.5, np.nan], [0.9, np.nan])
    low = labels([-0.5, np.nan], [0.1, np.nan])
    assert remark(high) == ("ok", ""), "one clip may well be happy throughout"
    assert remark(high, low) == (
        "warn",
        "no arousal in them is below 0: a scale from 0 to 1 has to be rescaled to [-1, 1]",
    )
    assert remark(high, high)[1].startswith("no valence or arousal in them is below 0")
    assert remark(low, labels([0, np.nan], [-1, np.nan])) == ("ok", "")


def test_what_changed_since_the_table_was_made_is_reported_as_it_is_now(tabled_project, rescan):
    data = tabled_project.parent / "data"
    before = diagnose(tabled_project).tracks
    (data / "annotations/VA_Set/Train_Set/a.txt").write_text("valence,arousal\n" + "0,0\n" * 65)
    (data / "videos/more/a.mp4").unlink()
    rescan(tabled_project)
    report = diagnose(tabled_project)
    item = found(report)["table of tracks"]
    assert (item.status, item.text) == (
        "warn",
        "made from other sources than the current ones: `dvc repro` remakes it",
    )
    assert report.tracks["a"] == before["a"][2:], "the double and the rows are mended, and the video is known still"
    assert [report.tracks[name] for name in ("b", "bad", "gone")] == [before[name] for name in ("b", "bad", "gone")]
    assert report.cost.assumed_videos == 0
    shutil.copyfile(data / "videos/a.mp4", data / "videos/gone.mp4")
    rescan(tabled_project)
    report = diagnose(tabled_project)
    assert report.cost.assumed_videos == 0, "the same video has been looked at under another name"
    assert report.tracks["gone"] == (
        "no crops: faces are detected in the video",
        "1 label rows for 65 video frames: the last 64 frames have no label",
    ), "not what the table still says"


def test_what_other_files_do_to_a_track_that_is_as_it_was_is_reported(tabled_project):
    data = tabled_project.parent / "data"
    shutil.copyfile(data / "videos/b.mp4", data / "videos/more/b.mp4")
    before = {track.track: track.warnings for track in read_tracks(tabled_project / "data/corpus/tracks.parquet")}
    assert before["b"] == ("no crops: faces are detected in the video",)
    assert diagnose(tabled_project).tracks["b"] == (
        "2 videos have this name (videos/b.mp4, videos/more/b.mp4): the first is used",
        "no crops: faces are detected in the video",
    )


def test_a_list_that_changed_makes_the_table_old(tabled_project, rescan):
    test_list = tabled_project.parent / "data/annotations/VA_Set/Valence_Arousal_test_set_release.txt"
    test_list.write_text("b\n\n")
    assert found(diagnose(tabled_project))["table of tracks"].status == "warn", "also before the scan"
    rescan(tabled_project)
    assert found(diagnose(tabled_project))["table of tracks"].status == "warn"
    build_table(tabled_project)
    assert found(diagnose(tabled_project))["table of tracks"].status == "ok"
