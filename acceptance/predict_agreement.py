"""Raw test videos through `avfusion predict`, against the evaluation of their stored crops.

Takes the first three test tracks that have a video of their own, both streams, and predicts them from the video file:
faces detected and aligned, sound decoded, features made anew. Prints the pooled mean CCC of both ways.
"""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from avfusion import Predictor, ccc
from avfusion.corpora.table import read_tracks
from avfusion.presentation.tables import write_frames_csv

TOLERANCE = 0.05


def main() -> None:
    """Compare on three tracks."""
    root = Path.cwd()
    tracks = [t for t in read_tracks(root / "data/corpus/tracks.parquet") if t.split == "test" and t.track == t.video]
    chosen = [track for track in tracks if track.has_audio][:3]
    predictor = Predictor.load()
    ours, stored, truth = [], [], []
    for track in chosen:
        with tempfile.TemporaryDirectory() as folder:
            write_frames_csv(Path(folder) / "out.csv", predictor.predict(root / "data/raw/demo" / track.video_path))
            table = pd.read_csv(Path(folder) / "out.csv")
        assert table.audio_present.any(), f"{track.track}: no audio was used"
        assert table.visual_present.any(), f"{track.track}: no face was used"
        evaluated = pd.read_parquet(root / "reports/evaluate/predictions" / f"{track.track}.parquet")
        assert len(evaluated) == len(table), track.track
        valid = evaluated.valid.to_numpy()
        ours.append(table[["valence", "arousal"]].to_numpy()[valid])
        stored.append(evaluated[["valence", "arousal"]].to_numpy()[valid])
        truth.append(evaluated[["true_valence", "true_arousal"]].to_numpy()[valid])
    raw, cached = _mean_ccc(ours, truth), _mean_ccc(stored, truth)
    names = ", ".join(track.track for track in chosen)
    print(f"{names}: predict {raw:.3f}, evaluate {cached:.3f}, difference {raw - cached:+.3f}")
    raise SystemExit(int(abs(raw - cached) > TOLERANCE))


def _mean_ccc(predictions: list[np.ndarray], truth: list[np.ndarray]) -> float:
    p, t = np.concatenate(predictions), np.concatenate(truth)
    return float(np.mean([ccc(p[:, c], t[:, c]) for c in range(2)]))


if __name__ == "__main__":
    main()
