"""Projects on Aff-Wild2-shaped folders; their videos are no videos, since the doctor opens none."""

from collections.abc import Callable
from pathlib import Path

import pytest

from avfusion.corpora.adapters import corpus_root
from avfusion.corpora.sources import scan
from avfusion.params.params import load_params
from avfusion.params.write_preset import write_preset

ROOT = Path(__file__).parents[2]


def write_corpus(data: Path) -> None:
    """Tracks a (crops), v (val, crops), b (test, no crops), gone (no video); another challenge."""
    for folder in ("videos", "cropped_aligned/a", "cropped_aligned/v", "annotations/AU_Set/Train_Set"):
        (data / folder).mkdir(parents=True)
    for name in ("a", "b", "v"):
        (data / "videos" / f"{name}.mp4").write_bytes(f"video {name}".encode())
    for name in ("a", "v"):
        (data / "cropped_aligned" / name / "00001.jpg").write_bytes(b"x" * 3000)
    for name in ("Train_Set/a", "Train_Set/gone", "Validation_Set/v"):
        path = data / "annotations" / "VA_Set" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("valence,arousal\n0,0\n")
    (data / "annotations/AU_Set/Train_Set/a.txt").write_text("AU1\n1\n")
    (data / "annotations/VA_Set/Valence_Arousal_test_set_release.txt").write_text("b\n")


@pytest.fixture
def corpus_project(tmp_path: Path) -> Path:
    """A project on `write_corpus`'s folder, scanned; the raw data are in `../data`."""
    project, data = tmp_path / "project", tmp_path / "data"
    write_corpus(data)
    project.mkdir()
    (project / "dvc.yaml").write_text("stages: {}\n")
    write_preset(project, "affwild2", data)
    scan_project(project)
    return project


def scan_project(project: Path) -> None:
    params = load_params(project / "params.yaml").corpus
    scan(corpus_root(project, params), params, project / "data" / "sources.txt")


@pytest.fixture
def rescan() -> Callable[[Path], None]:
    """`avfusion scan` in a project."""
    return scan_project
