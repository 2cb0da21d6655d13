"""What is made of fixed annotations."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from avfusion.corpora.table import Track
from avfusion.data import label_times
from avfusion.data.label_store import update_labels
from avfusion.data.own_labels import read_own_labels
from avfusion.runtime.fingerprints import file_digest
from avfusion.runtime.settings import ExecutionSettings

TEXT = "valence,arousal\r\n0.1234,-0.5\r\n-5,0.25\r\n1,-1\r\n0.75,-5\r\n-0.0001,0\r\n0.5,0.5\r\n"
GOLDEN = {
    "frame": [1, 2, 3, 4, 5],
    "valence": [float(np.float32(0.1234)), None, 1.0, None, float(np.float32(-0.0001))],
    "arousal": [-0.5, None, -1.0, None, 0.0],
    "valid": [True, False, True, False, True],
}
TRACK = Track("a", "a", "train", "a.mp4", (), "a.txt", "", "", "", 5, 25.0, 0.2, False, 6, 0, ())


def test_labels_are_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(TEXT.encode())
    track = replace(TRACK, labels_hash=file_digest(tmp_path / "a.txt"))
    update_labels(tmp_path / "labels", tmp_path, [track], ExecutionSettings(executor="serial"))
    table = pq.read_table(tmp_path / "labels" / "a.parquet").to_pydict()
    found = {name: [None if value != value else value for value in values] for name, values in table.items()}
    assert found == GOLDEN


def test_own_labels_on_frames_are_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("time,valence,arousal\n0.1,0.2,-1\n0.2,0.4,1\n0.3,-5,0\n0.4,0.8,0\n0.8,0,0\n")
    labels = read_own_labels(tmp_path / "a.csv")
    found = label_times.labels_by_time(labels, np.arange(12) / 12, 1.0, delay_s=0.02)
    known = [None, 0.20667, 0.37333, None, None, 0.8, None, None, None, 0.0, None, None]
    values = [None if value != value else round(float(value), 5) for value in found.valence]
    assert values == known
