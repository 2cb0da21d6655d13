"""Which labels a demo track is scored on: its annotation; the truth only where nothing is annotated."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from avfusion.corpora.demo.truth import read_truth
from avfusion.data.settings import GeometrySettings
from avfusion.experiments.evaluate import load_evaluated, predict_tracks
from avfusion.scoring.ccc import ccc
from avfusion.scoring.metrics import pooled_scores

GEOMETRY = GeometrySettings(fps=25)


def test_an_annotated_track_is_scored_on_its_annotation(plant: Callable[..., Path]) -> None:
    root = plant(tracks={"train": 1, "val": 1, "test": 1}, seconds=8)
    folder = root / "data" / "raw" / "demo" / "truth"
    path = folder / "val-0.parquet"
    table = pq.read_table(path)
    for target in ("valence", "arousal"):  # an annotator who saw the opposite
        mirrored = pa.array(-table[target].to_numpy())
        table = table.set_column(table.column_names.index(target), target, mirrored)
    everywhere = pa.array(np.ones(len(table), bool))  # and left out frames whose truth is known
    pq.write_table(table.set_column(table.column_names.index("valid"), "valid", everywhere), path)
    tracks = load_evaluated(root, GEOMETRY)
    found = {
        split: predict_tracks(entries, {}, GEOMETRY, 8, "overlap", root, folder)[0] for split, entries in tracks.items()
    }
    annotated = tracks["val"][0]
    assert annotated.valid.sum() == 195
    np.testing.assert_array_equal(found["val"].labels, annotated.labels)
    np.testing.assert_array_equal(found["val"].valid, annotated.valid)
    scores = pooled_scores([found["val"]], "oracle")
    truth = read_truth(folder, "val-0", 200)
    assert truth is not None
    expected = ccc(truth.oracles["oracle"][annotated.valid, 0], annotated.labels[annotated.valid, 0])
    assert scores["ccc_valence"] == pytest.approx(expected, abs=1e-5)
    assert expected > 0.5  # on the mirrored truth it would be below 0

    assert not tracks["test"][0].valid.any()
    known = read_truth(folder, "test-0", 200)
    assert known is not None
    np.testing.assert_array_equal(found["test"].labels, known.labels)
    assert found["test"].valid.sum() == 195
