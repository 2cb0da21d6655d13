"""Bad data through the stages as DVC runs them: what is named, what goes on, and the exit status."""

import csv
import json

import pytest

from avfusion.corpora.table import read_tracks
from avfusion.data.audio import read_audio
from avfusion.data.frames import read_frames


def bad_videos(videos):
    """Content by name: each is no video, or a broken one; and the reason that is given."""
    whole = videos["h264.mp4"]
    return {
        "text": (b"this is a letter\n" * 20, "it is a text file, not a video"),
        "empty": (b"", "is empty (0 bytes)"),
        "cut": (whole[: len(whole) // 2], "truncated or damaged"),
        "index": (whole[:-10], "is truncated: it ends inside its index"),
        "sound": (videos["voice.wav"], "has no video stream (found: audio)"),
        "list": (videos["list.m3u8"], "M3U/HLS playlist, which would open other files"),
    }


def add(project, bad):
    for name, (content, _) in bad.items():
        project.video(name).write_bytes(content)
        project.labels(name).write_bytes(project.labels("a").read_bytes())


def test_videos_that_cannot_be_read_fail_by_name_or_are_recorded(project, videos):
    bad = bad_videos(videos)
    add(project, bad)
    assert project.avfusion("scan").code == 0
    done = project.run("corpus")
    assert done.code == 2
    assert f"corpus: videos: {len(bad)} of {len(bad) + 3} failed" in done.error
    assert done.error.endswith(": repair them, or set common.on_error: skip to go on without them\n")
    assert done.error.count("\n") == 1
    items = {item["name"]: item["text"] for item in json.loads(project.avfusion("doctor", "--json").out)["items"]}
    heading, *lines = items["stage corpus"].split("\n")
    assert heading == f"{len(bad)} failed when it last ran:"
    assert [line.split(":")[0] for line in lines] == sorted(f"videos/{name}.mp4" for name in bad)
    assert all(reason in items["stage corpus"] for _, reason in bad.values())
    table = project.root / "data/corpus/tracks.parquet"
    assert not table.exists()
    project.set("common", on_error="skip")
    assert project.run("corpus").code == 0
    assert [track.track for track in read_tracks(table)] == ["a", "b", "c"]
    tracks = {track.track: track for track in read_tracks(table, unusable=True)}
    for name, (_, reason) in bad.items():
        assert tracks[name].frames == 0
        assert any(reason in warning for warning in tracks[name].warnings), name
    for stage, folder in (("labels", "labels"), ("frames", "frames"), ("audio", "audio")):
        assert project.run(stage).code == 0
        assert sorted(path.stem for path in (project.root / "data" / folder).iterdir()) == ["a", "b", "c"]
    report = project.avfusion("doctor", "--json")
    assert report.code == 0
    found = json.loads(report.out)
    assert (found["splits"]["train"]["tracks"], found["splits"]["train"]["unreadable"]) == (len(bad) + 2, len(bad))
    assert all(reason in " ".join(found["tracks"][name]) for name, (_, reason) in bad.items())
    assert "stage corpus" not in [item["name"] for item in found["items"]], "said by track"


def undecodable(content: bytes) -> bytes:
    """A video with its packets as before and nothing in them."""
    start = content.index(b"mdat") + 4
    size = int.from_bytes(content[start - 8 : start - 4]) - 8
    return content[:start] + bytes(size) + content[start + size :]


def test_a_video_that_cannot_be_decoded_costs_only_its_own_frames(project, videos):
    project.video("b").write_bytes(undecodable(videos["mjpeg.mov"]))
    assert project.avfusion("scan").code == 0
    assert project.run("corpus").code == 0
    done = project.run("frames")
    assert done.code == 1
    assert "frames: 1 of 3 failed: b: " in done.error
    assert "is damaged: only 0 of its 12 frames can be decoded" in done.error
    frames = project.root / "data" / "frames"
    assert sorted(path.name for path in frames.iterdir()) == ["a.parquet", "c.parquet"]
    project.set("common", on_error="skip")
    assert project.run("frames").code == 0
    assert len(read_frames(frames / "a.parquet").frame) == 12
    with (project.root / "reports/faces/summary.csv").open(newline="") as stream:
        rows = {row["track"]: row for row in csv.DictReader(stream)}
    assert rows["b"]["source"] == "failed"
    assert "only 0 of its 12 frames" in rows["b"]["remarks"]


def test_a_video_that_changed_after_the_table_was_made_costs_only_its_own_sound(project):
    assert project.avfusion("scan").code == 0
    assert project.run("corpus").code == 0
    whole = project.video("b").read_bytes()
    project.video("b").write_bytes(whole[:-10])
    done = project.run("audio")
    assert done.code == 2
    assert "audio: 1 of 3 failed: b: " in done.error
    assert "b.mp4 changed since the last scan: run `avfusion scan`" in done.error
    failed = [item["text"] for item in json.loads(project.avfusion("doctor", "--json").out)["items"]]
    assert any(text.startswith("1 failed when it last ran:\nb: ") for text in failed), (
        "also where the stage ended by it"
    )
    audio = project.root / "data" / "audio"
    assert sorted(path.name for path in audio.iterdir()) == ["a.wav", "c.wav"]
    project.set("common", on_error="skip")
    assert project.run("audio").code == 0
    assert "stage audio" in project.avfusion("doctor").out
    found = {item["name"]: item["text"] for item in json.loads(project.avfusion("doctor", "--json").out)["items"]}
    assert found["stage audio"].startswith("1 failed when it last ran:\nb: ")
    project.video("b").write_bytes(whole)
    project.set("common", on_error="fail")
    assert project.run("audio").code == 0
    assert len(read_audio(audio / "b.wav")) > 20000


def test_every_bad_label_file_is_listed_in_one_go(project):
    assert project.avfusion("scan").code == 0
    assert project.run("corpus").code == 0
    faults = {
        "a": ("valence,arousal\n0.1,0.2\nfoo,0.1\n", "a.txt, line 3: 'foo,0.1': two numbers"),
        "b": ("Neutral,Anger\n0.1,0.2\n", "b.txt, line 1: 'Neutral,Anger': the header 'valence,arousal' is needed"),
        "c": ("valence,arousal\n0.1,2\n", "c.txt, line 2: '0.1,2': out of [-1, 1] and not -5"),
    }
    for name, (content, _) in faults.items():
        project.labels(name).write_text(content)
    assert project.avfusion("scan").code == 0
    assert project.run("corpus").code == 0
    done = project.run("labels")
    assert done.code == 2
    assert "3 of 3 annotation files cannot be used" in done.error
    for _, words in faults.values():
        assert words in done.error
    assert done.error.count("\n") == 1
    assert not (project.root / "data" / "labels").exists()


def test_a_corpus_without_validation_ends_at_the_table_of_tracks(project):
    project.labels("c").unlink()
    assert project.avfusion("scan").code == 0
    done = project.run("corpus")
    assert (done.code, done.error) == (
        2,
        "error: stage corpus: no model can be trained: the split val is empty: "
        "put annotation files into a folder Validation_Set\n",
    )
    assert "probing" not in done.out, "at once"
    assert project.avfusion("doctor").code == 2


def test_own_videos_without_labels_get_crops_and_sound_but_no_training(project):
    (project.corpus / "manifest.csv").write_text("video\nvideos/a.mp4\nvideos/b.mp4\n")
    project.set("corpus", name="manifest")
    for command in ("scan", "doctor"):
        assert project.avfusion(command).code == 0
    for stage in ("corpus", "frames", "audio"):
        assert project.run(stage).code == 0
    assert sorted(path.name for path in (project.root / "data/frames").iterdir()) == ["a.parquet", "b.parquet"]
    done = project.run("labels")
    assert done.code == 2
    assert "no model can be trained: no track has labels: " in done.error
    assert done.error.count("\n") == 1


def test_missing_data_are_one_line_and_status_2(project):
    moved = project.corpus.rename(project.corpus.with_name("moved"))
    for done in (project.avfusion("scan"), project.run("render")):
        assert done.code == 2
        assert f"corpus.root {project.corpus} is missing" in done.error
        assert done.error.count("\n") == 1
    assert project.avfusion("doctor").code == 2
    moved.rename(project.corpus)
    (project.corpus / "videos").rename(project.corpus / "film")
    done = project.avfusion("scan")
    assert done.code == 2
    assert "has no folder videos/; found instead: annotations/, film/" in done.error
    done = project.run("corpus")
    assert done.code == 2
    assert done.error.count("\n") == 1


@pytest.mark.parametrize(
    ("section", "values", "words"),
    [
        ("corpus", {"roots": "x"}, "corpus.roots is unknown: must be one of name, root, "),
        ("corpus", {"root": 5}, "corpus.root is 5: must be a valid string"),
        ("common", {"on_error": "ignore"}, "common.on_error is 'ignore': must be 'fail' or 'skip'"),
        ("common", {"threads": 0}, "common.threads is 0: must be greater than or equal to 1"),
    ],
)
def test_bad_parameters_are_one_line_and_status_2(project, section, values, words):
    project.set(section, **values)
    done = project.run("corpus")
    assert done.code == 2
    assert words in done.error
    assert done.error.count("\n") == 1


def test_a_track_in_two_splits_is_an_error_that_doctor_lists(project):
    twice = project.corpus / "annotations/VA_Set/Validation_Set/a.txt"
    twice.write_bytes(project.labels("a").read_bytes())
    done = project.avfusion("scan")
    assert done.code == 2
    assert "tracks in two splits: a (annotations/VA_Set/Train_Set/a.txt and " in done.error
    report = project.avfusion("doctor", "--json")
    assert report.code == 2
    assert "tracks in two splits: a (annotations/VA_Set/Train_Set/a.txt and " in report.out
