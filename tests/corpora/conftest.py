"""Folders of own data."""

import pytest

from tests.corpora.own_files import FILES


@pytest.fixture
def root(tmp_path):
    """Videos, crops and labels of which manifests are made."""
    root = tmp_path / "own"
    for name in ("videos/a.mp4", "videos/b.mov", "s1/cam.mp4", "s2/cam.mp4", "labels/a.csv"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "crops" / "a").mkdir(parents=True)
    (root / "crops" / "a" / "00001.jpg").write_bytes(b"jpeg")
    return root


@pytest.fixture(scope="module")
def root_of_properties(tmp_path_factory):
    root = tmp_path_factory.mktemp("own")
    for name in (*FILES, "labels/a.csv", "crops/a/1.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root
