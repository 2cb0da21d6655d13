"""data/sources.txt: what it notices, what it does not depend on, and crop listings."""

import hashlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avfusion.corpora.crops import list_crops
from avfusion.corpora.settings import CorpusSettings
from avfusion.corpora.sources import MIB, Source, crops_source, read_sources, scan, video_source
from avfusion.runtime.errors import BadInputError

PARAMS = CorpusSettings(name="affwild2")


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "root"
    for folder in ("videos/b1", "cropped_aligned/x", "annotations/VA_Set/Train_Set"):
        (root / folder).mkdir(parents=True)
    (root / "videos/b1/x.mp4").write_bytes(b"video")
    (root / "cropped_aligned/x/00001.jpg").write_bytes(b"jpeg")
    (root / "annotations/VA_Set/Train_Set/x.txt").write_text("valence,arousal\n0,0\n")
    return root


def test_lines_are_sorted_and_hold_path_size_hash(tree, tmp_path):
    out = tmp_path / "sources.txt"
    summary = scan(tree, PARAMS, out)
    labels = hashlib.sha256(b"valence,arousal\n0,0\n").hexdigest()
    crops = hashlib.sha256(b"00001.jpg\x004\n").hexdigest()
    video = hashlib.sha256(b"5\nvideo").hexdigest()
    assert out.read_bytes().decode() == (
        f"annotations/VA_Set/Train_Set/x.txt\t20\t{labels}\n"
        f"cropped_aligned/x/\t4\t{crops}\n"
        f"videos/b1/x.mp4\t5\t{video}\n"
    )
    assert (summary.tracks, summary.sources, summary.bytes, len(summary.added)) == (1, 3, 29, 3)
    assert read_sources(out)["videos/b1/x.mp4"] == Source(5, video)


def test_a_second_scan_sees_what_changed(tree, tmp_path):
    out = tmp_path / "sources.txt"
    scan(tree, PARAMS, out)
    first = out.read_bytes()
    os.utime(tree / "videos/b1/x.mp4", (0, 0))
    assert scan(tree, PARAMS, out).same
    assert out.read_bytes() == first
    (tree / "cropped_aligned/x/00002.jpg").write_bytes(b"j")
    (tree / "videos/b1/x.mp4").write_bytes(b"vidEo")
    summary = scan(tree, PARAMS, out)
    assert summary.changed == ("cropped_aligned/x/", "videos/b1/x.mp4")
    assert str(summary).endswith("0 added, 0 removed, 2 changed")


def test_doubles_of_what_is_used_are_sources_since_warnings_name_them(tree, tmp_path):
    out = tmp_path / "sources.txt"
    scan(tree, PARAMS, out)
    (tree / "videos/b2").mkdir()
    (tree / "videos/b2/x.avi").write_bytes(b"start" + bytes(MIB) + b"middle" + bytes(MIB) + b"end")
    (tree / "annotations/VA_Set/Training_Set").mkdir()
    (tree / "annotations/VA_Set/Training_Set/x.txt").write_text("valence,arousal\n1,1\n")
    assert scan(tree, PARAMS, out).added == ("annotations/VA_Set/Training_Set/x.txt", "videos/b2/x.avi")
    assert read_sources(out)["videos/b2/x.avi"] == video_source(tree / "videos/b2/x.avi"), "not read as a whole"


def test_unused_videos_are_no_sources(tree, tmp_path):
    (tree / "videos/other.mp4").write_bytes(b"x")
    scan(tree, PARAMS, tmp_path / "sources.txt")
    assert "videos/other.mp4" not in read_sources(tmp_path / "sources.txt")


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 2 * MIB, 3 * MIB])
def test_video_hash_sees_both_ends_and_the_size(tmp_path, size):
    path = tmp_path / "v.mp4"
    content = bytearray(os.urandom(size))
    path.write_bytes(content)
    before = video_source(path)
    assert before.size == size
    for position in {0, size - 1} if size else ():
        content[position] ^= 1
        path.write_bytes(content)
        assert video_source(path).digest != before.digest
        content[position] ^= 1
    path.write_bytes(content + b"x")
    assert video_source(path).digest != before.digest


def test_crop_hash_is_of_names_and_sizes(tmp_path):
    (tmp_path / "1.jpg").write_bytes(b"abc")
    before = crops_source(tmp_path)
    (tmp_path / ".DS_Store").write_bytes(b"junk")
    assert crops_source(tmp_path) == before
    (tmp_path / "1.jpg").rename(tmp_path / "2.jpg")
    assert crops_source(tmp_path).digest != before.digest


@pytest.mark.parametrize("line", ["only one field", "a\tb\tc", "\t"])
def test_damaged_lines_are_named(tmp_path, line):
    (tmp_path / "sources.txt").write_text(f"v.mp4\t1\tabc\n{line}\n")
    with pytest.raises(BadInputError, match=r"line 2: .*avfusion scan"):
        read_sources(tmp_path / "sources.txt")


def test_missing_sources_say_what_to_do(tmp_path):
    with pytest.raises(BadInputError, match=r"sources.txt is missing: run `avfusion scan`"):
        read_sources(tmp_path / "sources.txt")


@given(first=st.sets(st.integers(1, 400), max_size=30), second=st.sets(st.integers(1, 400), max_size=30))
def test_merged_crops_are_the_union_and_the_first_folder_wins(tmp_path_factory, first, second):
    root = tmp_path_factory.mktemp("crops")
    for name, numbers in (("a", first), ("b", second)):
        (root / name).mkdir()
        for number in numbers:
            (root / name / f"{number:05d}.jpg").touch()
    listing = list_crops([root / "a", root / "b"])
    assert list(listing.files) == sorted(first | second)
    assert listing.repeated == len(first & second)
    for number, path in listing.files.items():
        assert path == str(root / ("a" if number in first else "b") / f"{number:05d}.jpg")


def test_names_that_are_no_frame_number_are_strays(tmp_path):
    strays = {"frame3.jpg", "00000.jpg", "4.txt", "٣.jpg", "Thumbs.db", "-5.jpg"}
    for name in ("00001.jpg", "2.PNG", ".hidden.jpg", *strays):
        (tmp_path / name).touch()
    listing = list_crops([tmp_path])
    assert list(listing.files) == [1, 2]
    assert set(listing.strays) == strays
