"""What lies in a corpus folder and is no regular file, or has a name that no list can hold: named; nothing hangs."""

import os
from pathlib import Path

import pytest

from avfusion.corpora.adapters import open_corpus
from avfusion.corpora.settings import CorpusSettings
from avfusion.corpora.source_hashes import crops_source, file_source
from avfusion.corpora.sources import read_sources, scan
from avfusion.data.tracks import build_tracks
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.settings import ExecutionSettings

PARAMS = CorpusSettings(name="affwild2")
SERIAL = ExecutionSettings(executor="serial", workers=1)
VA = "valence,arousal\n0,0\n"

pytestmark = pytest.mark.timeout(60)  # opening a pipe that nobody writes to never ends


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for folder in ("videos/b", "annotations/VA_Set/Train_Set", "cropped_aligned/a"):
        (root / folder).mkdir(parents=True)
    (root / "videos/b/a.mp4").write_text("no video")
    (root / "annotations/VA_Set/Train_Set/a.txt").write_text(VA)
    return root


def add_track(root: Path, name: str) -> Path:
    """Labels for a track; returns where its video belongs."""
    (root / f"annotations/VA_Set/Train_Set/{name}.txt").write_text(VA)
    return root / f"videos/b/{name}.mp4"


def test_videos_that_are_no_files_are_scanned_unopened_and_recorded_with_the_reason(root, tmp_path):
    os.mkfifo(add_track(root, "pipe"))
    add_track(root, "zero").symlink_to("/dev/zero")
    add_track(root, "gone").symlink_to(tmp_path / "nowhere")
    add_track(root, "folder").mkdir()
    sources = tmp_path / "sources.txt"
    scan(root, PARAMS, sources)
    listed = read_sources(sources)
    assert {listed[f"videos/b/{name}.mp4"].size for name in ("pipe", "zero", "gone")} == {0}
    tracks = {t.track: t for t in build_tracks(root, PARAMS, sources, execution=SERIAL, on_error="skip")}
    place = "unreadable video: videos/b"
    for name, reason in {
        "pipe": f"{place}/pipe.mp4: is a device, pipe or socket, only regular files are read",
        "zero": f"{place}/zero.mp4: is a device, pipe or socket, only regular files are read",
        "gone": f"{place}/gone.mp4: does not exist (a link to nothing)",
        "folder": "no video 'folder' below videos/: the track cannot be used",
    }.items():
        assert reason in tracks[name].warnings
        assert tracks[name].frames == 0


def test_a_regular_file_of_no_bytes_and_what_is_none_have_one_hash(tmp_path):
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    assert file_source(tmp_path / "pipe") == file_source(tmp_path / "empty")


def test_labels_that_are_no_file_are_named(root, tmp_path):
    os.mkfifo(root / "annotations/VA_Set/Train_Set/pipe.txt")
    with pytest.raises(BadInputError, match=r"Train_Set/pipe\.txt \(no regular file"):
        scan(root, PARAMS, tmp_path / "sources.txt")
    (root / "annotations/VA_Set/Train_Set/pipe.txt").unlink()
    (root / "annotations/VA_Set/Train_Set/gone.txt").symlink_to(tmp_path / "nowhere")
    with pytest.raises(BadInputError, match=r"gone\.txt \(no regular file"):
        scan(root, PARAMS, tmp_path / "sources.txt")


def test_crops_that_are_no_files_have_no_part_in_the_hash(root):
    crops = root / "cropped_aligned/a"
    (crops / "00001.jpg").write_bytes(b"jpeg")
    before = crops_source(crops)
    assert before.size == 4
    (crops / "00002.jpg").mkdir()
    (crops / "00003.jpg").symlink_to(crops / "nowhere")
    os.mkfifo(crops / "00004.jpg")
    assert crops_source(crops) == before


def test_names_that_no_list_can_hold_are_refused(root, tmp_path):
    odd = os.fsencode(root / "videos") + b"/caf\xe9"  # Latin-1
    os.rename(root / "videos/b", odd)
    with pytest.raises(BadInputError, match=r"'videos/caf\\udce9/a\.mp4': file names must be UTF-8"):
        scan(root, PARAMS, tmp_path / "sources.txt")
    os.rename(odd, root / "videos/b\tc")
    with pytest.raises(BadInputError, match=r"'videos/b\\tc/a\.mp4': file names must be UTF-8 without tabs"):
        scan(root, PARAMS, tmp_path / "sources.txt")


@pytest.mark.parametrize("mark", ["\u2028", "\x85", "\x0b", "\x1c"])
def test_marks_that_only_python_takes_for_line_ends_are_part_of_a_name(root, tmp_path, mark):
    (root / "videos/b").rename(root / f"videos/b{mark}c")
    scan(root, PARAMS, tmp_path / "sources.txt")
    assert f"videos/b{mark}c/a.mp4" in read_sources(tmp_path / "sources.txt")


@pytest.mark.parametrize("content", [b"v.mp4\t1\tabc\n\xff\xfe\t1\tabc\n", b"v.mp4\t1\xc3"])
def test_a_list_that_is_no_text_is_refused(tmp_path, content):
    path = tmp_path / "sources.txt"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"sources\.txt cannot be read .*run `avfusion scan`"):
        read_sources(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(BadInputError, match=r"sources\.txt cannot be read .*Is a directory"):
        read_sources(path)


def test_a_folder_named_like_an_annotation_file_is_none(root):
    (root / "annotations/VA_Set/Train_Set/b.txt").mkdir()
    assert [track.track for track in open_corpus(PARAMS, root).tracks] == ["a"]
