"""The truth of the demo corpus: true labels of every track, and the oracles' predictions."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from avfusion.corpora.settings import DEMO_ROOT, CorpusSettings
from avfusion.scoring.track_predictions import TARGETS

# Name in reports → columns of the truth file: predictions from the known cues of both streams, or of one. The last two
# are known where `render.emotions` is `interaction`: from both streams by sums over time, and from one clip of both.
ORACLES = {
    "oracle": "oracle_both",
    "oracle_audio": "oracle_audio",
    "oracle_visual": "oracle_visual",
    "oracle_linear": "oracle_linear",
    "oracle_clip": "oracle_clip",
}
CONDITIONS = ("occluded", "pause", "burst")


@dataclass(frozen=True)
class Truth:
    """Truth of a demo track's N video frames: labels (N, 2), valid (N,), oracle predictions (N, 2), conditions (N,)."""

    labels: np.ndarray
    valid: np.ndarray
    oracles: dict[str, np.ndarray]
    conditions: dict[str, np.ndarray]


def truth_folder(project: Path, corpus: CorpusSettings) -> Path | None:
    """The folder of the tracks' truth; None for every corpus but the demo, whatever the names of its folders."""
    return project / DEMO_ROOT / "truth" if corpus.name == "demo" else None


def read_truth(folder: Path | None, track: str, frames: int) -> Truth | None:
    """Truth of a track by frame number; None without a folder, or without the track in it."""
    if folder is None:
        return None
    path = folder / f"{track}.parquet"
    if not path.is_file():
        return None
    table = pq.read_table(path)
    at = table["frame"].to_numpy() - 1
    inside = (at >= 0) & (at < frames)

    def pair(prefix: str) -> np.ndarray:
        found = np.zeros((frames, 2), np.float32)
        for c, target in enumerate(TARGETS):
            found[at[inside], c] = table[f"{prefix}{target}"].to_numpy()[inside]
        return found

    def flag(name: str) -> np.ndarray:
        found = np.zeros(frames, bool)
        found[at[inside]] = table[name].to_numpy(zero_copy_only=False)[inside]
        return found

    valid = flag("valid")
    return Truth(
        labels=np.where(valid[:, None], pair(""), 0).astype(np.float32),
        valid=valid,
        oracles={
            name: np.clip(pair(f"{prefix}_"), -1, 1)
            for name, prefix in ORACLES.items()
            if f"{prefix}_{TARGETS[0]}" in table.column_names
        },
        conditions={name: flag(name) for name in CONDITIONS},
    )
