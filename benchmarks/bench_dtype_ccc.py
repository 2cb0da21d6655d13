"""What half precision of the backbones costs in CCC: a finished project's tracks, features in float32 and in bfloat16.

Run it in the project (`make demo` has been there). Features of the validation and test tracks are made in both kinds of
arithmetic, the trained fusion model predicts from both, and the pooled CCCs of all labelled frames are compared. Exit 1
where one differs by 0.002 or more.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from avfusion.backbones.feature_files import update_features
from avfusion.corpora.table import Track, read_tracks
from avfusion.data.track_data import load_split
from avfusion.fusion.files import load_fusion
from avfusion.fusion.track_inference import predict_track
from avfusion.params.params import Params, load_params
from avfusion.runtime.project import project_root
from avfusion.scoring.ccc import ccc

LIMIT = 0.002
SPLITS = ("val", "test")


def scores(root: Path, params: Params, tracks: list[Track], dtype: str) -> dict[str, np.ndarray]:
    """Pooled CCC of valence and arousal by split, from features in this arithmetic."""
    model, config = load_fusion(root / "models" / "fusion")
    features = params.features.model_copy(update={"dtype": dtype})
    params = params.replaced(features=features)
    with tempfile.TemporaryDirectory(prefix="avfusion-bench-") as folder:
        copy = Path(folder)
        (copy / "data").mkdir()
        for part in ("data/frames", "data/audio", "data/labels", "models"):
            (copy / part).symlink_to(root / part, target_is_directory=True)
        update_features(copy, tracks, params)
        found = {}
        for split in SPLITS:
            data = [track for track in load_split(copy, tracks, split, params.geometry) if track.valid.any()]
            if not data:
                continue
            mode = config.get("inference", "overlap")
            predicted = [predict_track(model, one, params.geometry, features.stride, mode) for one in data]
            pairs = [(values[one.valid], one.labels[one.valid]) for values, one in zip(predicted, data, strict=True)]
            predictions, labels = (np.concatenate(side) for side in zip(*pairs, strict=True))
            found[split] = np.array([ccc(predictions[:, target], labels[:, target]) for target in range(2)])
    return found


def main() -> None:
    """Print the CCCs of every split; exit 1 where they moved too far."""
    root = project_root()
    params = load_params(root / "params.yaml")
    tracks = [t for t in read_tracks(root / "data" / "corpus" / "tracks.parquet") if t.split in SPLITS]
    exact, rounded = (scores(root, params, tracks, dtype) for dtype in ("float32", "bfloat16"))
    moved = 0.0
    for split, values in exact.items():
        moved = max(moved, float(np.abs(rounded[split] - values).max()))
        columns = [f"{name} {a:.5f} -> {b:.5f}" for name, a, b in zip("VA", values, rounded[split], strict=True)]
        print(f"{split}: CCC in float32 -> in bfloat16: {', '.join(columns)}")
    print(f"moved by at most {moved:.5f}, limit {LIMIT}: {'kept' if exact and moved < LIMIT else 'FAILED'}")
    sys.exit(not exact or moved >= LIMIT)


if __name__ == "__main__":
    main()
