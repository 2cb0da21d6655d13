from pathlib import Path

import pytest

from avfusion.presentation.find_videos import find_videos


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in (
        "b.MP4", "a.mkv", "notes.doc", "a.csv", "a.WAV", "c.wav", "a.trace.png", "a.overlay.mp4", ".hidden.mp4",
        "__MACOSX/a.mkv", "sub/<script>.mov", "sub/deep/ü n.webm", "empty/x.json",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_a_folder_with_all_folders_in_it(tree: Path) -> None:
    found = find_videos([tree])
    names = [path.relative_to(tree).as_posix() for path in found.videos]
    assert names == ["a.mkv", "b.MP4", "c.wav", "sub/<script>.mov", "sub/deep/ü n.webm"]
    assert found.notes == (
        f"{tree}: 1 file without the suffix of a video or sound left out: notes.doc",
        f"{tree}: 1 file of a video's sound left out: a.WAV",
    )
    assert found.faults == ()


def test_patterns_files_and_repetitions(tree: Path) -> None:
    found = find_videos([tree / "*.m*", tree / "notes.doc", tree / "a.mkv", Path("gone.mp4"), tree / "**/*.webm"])
    wanted = [tree / "a.mkv", tree / "notes.doc", Path("gone.mp4"), tree / "sub/deep/ü n.webm"]
    assert list(found.videos) == wanted, "a named file is taken whatever it is called; case counts in patterns"
    odd = tree / "what[1]*.mp4"
    odd.touch()
    assert find_videos([odd]).videos == (odd,), "a file of that very name"


def test_sound_is_left_out_only_beside_its_video(tree: Path) -> None:
    assert find_videos([tree / "*.[wW]*"]).videos == (tree / "a.WAV", tree / "c.wav")
    assert find_videos([tree / "a.WAV", tree / "a.mkv"]).videos == (tree / "a.WAV", tree / "a.mkv")


def test_what_stands_for_nothing_is_told(tree: Path) -> None:
    found = find_videos([tree / "empty", tree / "*.avi", tree / "b.MP4"])
    assert found.videos == (tree / "b.MP4",)
    assert [argument for argument, _ in found.faults] == [tree / "empty", tree / "*.avi"]
    assert found.faults[0][1].startswith("holds no video (files that end with .mp4, ")
    assert found.faults[1][1].startswith("matches no video (")
