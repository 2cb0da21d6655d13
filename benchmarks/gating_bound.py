"""What a perfect gate could add: single streams mixed by fixed weights, and by weights for each known condition.

    python benchmarks/gating_bound.py --project DEMO

DEMO is a project whose demo corpus went through the stage `evaluate`. The corpus knows when a face is occluded and when
a voice is paused or drowned in noise; a gate that knew it, too, would have one pair of weights for each of these.
Weights are fitted by least squares and scaled to the best CCC, on the validation tracks and, as the most that is
possible, on the test tracks themselves. Also: how much a single stream's predictions shrink where its cue is destroyed,
which is a gate that no fusion has to learn.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from avfusion.corpora.demo.truth import read_truth, truth_folder
from avfusion.corpora.table import read_tracks
from avfusion.params.params import load_params
from avfusion.scoring.ccc import ccc
from avfusion.scoring.track_predictions import TARGETS

STREAMS = ("audio_only", "visual_only")
SCALES = np.arange(0.8, 2.6, 0.02)


def read_split(root: Path, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of all labelled frames of a split: predictions (N, 2 streams, 2 targets), labels (N, 2) and conditions (N,).

    Conditions: 0 nothing known, 1 the voice, 2 the face tells nothing.
    """
    truth = truth_folder(root, load_params(root / "params.yaml", ("corpus",)).corpus)
    found = []
    for track in read_tracks(root / "data" / "corpus" / "tracks.parquet"):
        path = root / "reports" / "evaluate" / "predictions" / f"{track.track}.parquet"
        if track.split != split or not path.is_file():
            continue
        table = pq.read_table(path)
        known = read_truth(truth, track.track, len(table))
        assert known is not None
        streams = [np.stack([table[f"{s}_{t}"].to_numpy() for t in TARGETS], axis=1) for s in STREAMS]
        lost = known.conditions
        state = np.where(lost["burst"] | lost["pause"], 1, np.where(lost["occluded"], 2, 0))
        found.append([part[known.valid] for part in (np.stack(streams, axis=1), known.labels, state)])
    predictions, labels, states = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return predictions, labels, states


def mixed(predictions: np.ndarray, states: np.ndarray, gated: bool) -> np.ndarray:
    """Regressors (N, K): both streams' predictions (N, 2), apart for each condition if `gated`, and a constant."""
    parts = [predictions * (states == state)[:, None] for state in range(3)] if gated else [predictions]
    return np.concatenate([*parts, np.ones((len(predictions), 1))], axis=1)


def fitted(regressors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Weights (K,) of least squares, scaled to the best CCC."""
    weights = np.linalg.lstsq(regressors, labels, rcond=None)[0]
    guess = regressors @ weights
    return weights * max(SCALES, key=lambda scale: float(ccc(scale * guess, labels)))


def main() -> None:
    """Print CCCs on the test tracks, and what becomes of single streams inside of spans."""
    parser = argparse.ArgumentParser(description="What a perfect gate could add.")
    parser.add_argument("--project", type=Path, required=True, help="a finished demo")
    root = parser.parse_args().project.resolve()
    splits = {split: read_split(root, split) for split in ("val", "test")}
    predictions, labels, states = splits["test"]
    for c, target in enumerate(TARGETS):
        for source in splits:
            scores = []
            for gated in (False, True):
                known = splits[source]
                weights = fitted(mixed(known[0][:, :, c], known[2], gated), known[1][:, c])
                scores.append(ccc(mixed(predictions[:, :, c], states, gated) @ weights, labels[:, c]))
            print(f"{target}, fitted on {source}: fixed weights {scores[0]:.3f}, weights by condition {scores[1]:.3f}")
    for s, (stream, gap) in enumerate(zip(STREAMS, (1, 2), strict=True)):
        for c, target in enumerate(TARGETS):
            spread = [predictions[at, s, c].std() for at in (states != gap, states == gap)]
            print(f"{stream}, {target}: standard deviation {spread[0]:.2f} outside, {spread[1]:.2f} inside of spans")


if __name__ == "__main__":
    main()
