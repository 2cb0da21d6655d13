"""data/sources.txt: what it notices, what it does not depend on, and crop listings."""

import hashlib
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avfusion.corpora import source_hashes
from avfusion.corpora.adapters import open_corpus
from avfusion.corpora.crops import list_crops
from avfusion.corpora.settings import CorpusSettings
from avfusion.corpora.source_hashes import Source, crops_source, file_source
from avfusion.corpora.sources import describe_sources, read_sources, scan
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
    jpeg = hashlib.sha256(b"jpeg").hexdigest()
    crops = hashlib.sha256(f"00001.jpg\0{jpeg}\n".encode()).hexdigest()
    video = hashlib.sha256(b"video").hexdigest()
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
    (tree / "videos/b2/x.avi").write_bytes(b"double")
    (tree / "annotations/VA_Set/Training_Set").mkdir()
    (tree / "annotations/VA_Set/Training_Set/x.txt").write_text("valence,arousal\n1,1\n")
    assert scan(tree, PARAMS, out).added == ("annotations/VA_Set/Training_Set/x.txt", "videos/b2/x.avi")
    assert read_sources(out)["videos/b2/x.avi"] == file_source(tree / "videos/b2/x.avi")


def test_unused_videos_are_no_sources(tree, tmp_path):
    (tree / "videos/other.mp4").write_bytes(b"x")
    scan(tree, PARAMS, tmp_path / "sources.txt")
    assert "videos/other.mp4" not in read_sources(tmp_path / "sources.txt")


@pytest.mark.parametrize("size", [1, 65_535, 65_536, 65_537, 5 << 20])
def test_an_edit_anywhere_changes_the_hash(tmp_path, size):
    path, crops = tmp_path / "v.mp4", tmp_path / "crops"
    crops.mkdir()
    content = bytearray(os.urandom(size))

    def digests() -> set[str]:
        path.write_bytes(content)
        (crops / "00001.jpg").write_bytes(content)
        return {file_source(path).digest, crops_source(crops).digest}

    before = digests()
    assert (file_source(path).size, crops_source(crops).size) == (size, size)
    for position in {0, size // 2, size - 1}:
        content[position] ^= 1
        assert not digests() & before
        content[position] ^= 1
    assert digests() == before
    content.append(0)
    assert not digests() & before


def test_crop_hash_is_of_names_and_contents(tmp_path):
    (tmp_path / "1.jpg").write_bytes(b"abc")
    before = crops_source(tmp_path)
    (tmp_path / ".DS_Store").write_bytes(b"junk")
    assert crops_source(tmp_path) == before
    (tmp_path / "1.jpg").write_bytes(b"abd")
    assert crops_source(tmp_path).digest != before.digest
    (tmp_path / "1.jpg").write_bytes(b"abc")
    (tmp_path / "1.jpg").rename(tmp_path / "2.jpg")
    assert crops_source(tmp_path).digest != before.digest


@pytest.fixture
def at_once(monkeypatch):
    """Files are remembered however new they are."""
    monkeypatch.setattr(source_hashes, "_SETTLED_S", -60.0)


def edit_and_set_the_time_back(path, content: bytes) -> None:
    """As `touch -r` does after an edit; the file's own clock has ticked before."""
    before = path.stat()
    assert before.st_size == len(content)
    while path.stat().st_ctime_ns == before.st_ctime_ns:
        path.write_bytes(content)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def replace_with_the_time_of_the_old(path, content: bytes) -> None:
    """As `cp -p` and `mv` do: another file of the same name, size and time."""
    before, new = path.stat(), path.with_suffix(".new")
    new.write_bytes(content)
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    new.replace(path)


@pytest.mark.parametrize("change", [edit_and_set_the_time_back, replace_with_the_time_of_the_old])
def test_edits_that_leave_size_and_time_are_seen(tree, tmp_path, at_once, change):
    out, memory = tmp_path / "sources.txt", tmp_path / "memory.json"
    scan(tree, PARAMS, out, memory)
    for path, content, name in (
        ("videos/b1/x.mp4", b"vidEo", "videos/b1/x.mp4"),
        ("cropped_aligned/x/00001.jpg", b"jpEg", "cropped_aligned/x/"),
        ("annotations/VA_Set/Train_Set/x.txt", b"valence,arousal\n0,1\n", "annotations/VA_Set/Train_Set/x.txt"),
    ):
        assert scan(tree, PARAMS, out, memory).same
        change(tree / path, content)
        assert scan(tree, PARAMS, out, memory).changed == (name,)
        assert read_sources(out) == describe_sources(open_corpus(PARAMS, tree), tree), "as without a memory"


def test_what_did_not_change_is_not_read_again(tree, tmp_path, at_once):
    out, memory = tmp_path / "sources.txt", tmp_path / ".avfusion" / "sources.json"
    scan(tree, PARAMS, out, memory)
    first = out.read_bytes()
    stored = json.loads(memory.read_text())
    marked = {key: [state, f"remembered-{digest}"] for key, (state, digest) in stored.items()}
    memory.write_text(json.dumps(marked))
    assert len(scan(tree, PARAMS, out, memory).changed) == 3, "hashes come from the memory"
    assert {source.digest.partition("-")[0] for source in read_sources(out).values()} == {"remembered"}
    os.utime(tree / "videos/b1/x.mp4")
    scan(tree, PARAMS, out, memory)
    assert read_sources(out)["videos/b1/x.mp4"].digest == hashlib.sha256(b"video").hexdigest()
    moved = tree.rename(tree.with_name("moved"))
    scan(moved, PARAMS, out, memory)
    assert out.read_bytes() == first, "of another place nothing is known"
    assert {key.removeprefix(f"{moved}/") for key in json.loads(memory.read_text())} == {
        "videos/b1/x.mp4", "cropped_aligned/x", "annotations/VA_Set/Train_Set/x.txt"
    }, "only the sources of the corpus are remembered"  # fmt: skip


@pytest.mark.parametrize("content", ["", "[1]", "{}", '{"a": 1}', '{"a": [1]}', "{", "\xff"])
def test_a_damaged_memory_costs_only_time(tree, tmp_path, content):
    memory = tmp_path / "memory.json"
    memory.write_bytes(content.encode("latin-1"))
    found = describe_sources(open_corpus(PARAMS, tree), tree, memory)
    assert found == describe_sources(open_corpus(PARAMS, tree), tree)


def test_new_files_are_read_again_since_their_clock_may_not_have_ticked(tree, tmp_path, monkeypatch):
    monkeypatch.setattr(source_hashes, "_SETTLED_S", 600.0)
    memory = tmp_path / "memory.json"
    scan(tree, PARAMS, tmp_path / "sources.txt", memory)
    assert not memory.exists()


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
