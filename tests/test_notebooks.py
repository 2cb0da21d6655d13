"""The notebooks run from top to bottom on a small rendered corpus, and are committed without outputs."""

import base64
import shutil
from pathlib import Path

import cv2
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from avfusion.config import Audio, Corpus, Execution, Frames, Render
from avfusion.corpora.demo.render import render_demo
from avfusion.corpora.sources import scan
from avfusion.corpora.table import write_tracks
from avfusion.data.audio_store import update_audio
from avfusion.data.frame_store import update_frames
from avfusion.data.label_store import update_labels
from avfusion.data.tracks import build_tracks

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PROCESSES = Execution(executor="processes", workers=2)
SERIAL = Execution(executor="serial", workers=1)


@pytest.fixture(scope="module")
def explored_project(tmp_path_factory):
    """A project whose stages up to `audio` have run on a corpus of a few seconds."""
    root = tmp_path_factory.mktemp("explored")
    (root / "dvc.yaml").write_text("stages: {}\n")
    shutil.copyfile(ROOT / "params.yaml", root / "params.yaml")
    raw, data, corpus = root / "data" / "raw" / "demo", root / "data", Corpus()
    render_demo(raw, Render(seed=5, train=3, val=1, test=1, min_seconds=2, max_seconds=2.5, size=96), PROCESSES)
    scan(raw, corpus, data / "sources.txt")
    tracks = build_tracks(raw, corpus, data / "sources.txt", execution=SERIAL)
    write_tracks(data / "corpus" / "tracks.parquet", tracks)
    update_labels(data / "labels", raw, tracks, SERIAL)
    update_frames(data / "frames", root / "reports" / "faces", raw, tracks, Frames(contact_sheets=False), SERIAL)
    update_audio(data / "audio", raw, tracks, Audio(), SERIAL)
    return root


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_committed_without_outputs(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


def test_explore_the_corpus(explored_project, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    notebook = nbformat.read(ROOT / "notebooks" / "01-explore-the-corpus.ipynb", as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(explored_project)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    pictures = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 4
    for picture in pictures:
        image = cv2.imdecode(np.frombuffer(base64.b64decode(picture), np.uint8), cv2.IMREAD_COLOR)
        assert image.std() > 10  # something is drawn
    counts = next(output.data["text/plain"] for output in outputs if "with_audio" in str(output.get("data", {})))
    rows = {line.split()[0]: line.split()[1] for line in counts.splitlines() if len(line.split()) > 2}
    assert (rows["train"], rows["val"], rows["test"]) == ("3", "1", "1")
