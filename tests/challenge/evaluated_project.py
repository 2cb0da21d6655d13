"""A small project evaluated in earnest, whose test tracks have neither labels nor truth, and samples of its rows."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from avfusion.data.features import read_features
from avfusion.data.settings import GeometrySettings
from avfusion.experiments.evaluate import load_evaluated, load_models, predict_tracks, protocol_facts, write_evaluation
from avfusion.fusion import build_fusion
from avfusion.fusion.files import save_fusion
from avfusion.fusion.model_folder import ModelFolder
from avfusion.reports.settings import EvaluateSettings

FRAMES = {"test-0": 216, "test-1": 225, "test-2": 270}  # 9 s at 24, 25 and 30 fps
ROWS = sum(FRAMES.values())
HEADER = "image_location,valence,arousal\n"
GEOMETRY = GeometrySettings(fps=25)


def evaluate(root: Path) -> None:
    """An untrained model, its predictions and scores, as the stages `train` and `evaluate` leave them."""
    import torch

    torch.manual_seed(0)
    spec = read_features(root / "data/features/val-0.safetensors").feature_spec.to_dict()
    facts = {"feature_spec": spec, "geometry": GEOMETRY.model_dump(), "inference": "overlap", "corpus": {}}
    model = build_fusion("concat", audio_dim=12, visual_dim=10)
    for parameter in model.parameters():
        parameter.data *= 3  # far from neutral
    save_fusion(root / "models/fusion", model, facts)
    tracks = load_evaluated(root, GEOMETRY)
    models, config = load_models({"concat": root / "models/fusion"}, tracks["test"])
    splits = {
        split: predict_tracks(entries, models, GEOMETRY, 8, config["inference"], root, root / "data/raw/demo/truth")
        for split, entries in tracks.items()
    }
    scoring = EvaluateSettings(trace_plots=0)
    digest = ModelFolder.open(root / "models/fusion").digest()
    protocol = protocol_facts(GEOMETRY, 8, "overlap", scoring, {"name": "concat", "digest": digest})
    write_evaluation(root / "reports/evaluate", splits, ["concat"], scoring, protocol)


def predicted(root: Path, track: str) -> np.ndarray:
    table = pd.read_parquet(root / "reports/evaluate/predictions" / f"{track}.parquet")
    return table[["valence", "arousal"]].to_numpy(np.float64)


def locations(frames: dict[str, int] = FRAMES) -> list[str]:
    return [f"{track}/{frame:05d}.jpg" for track, count in frames.items() for frame in range(1, count + 1)]


def sample_file(folder: Path, lines: list[str], text: Callable[[str], str] = lambda text: text) -> Path:
    path = folder / "sample.txt"
    path.write_bytes(text("\n".join(lines) + "\n").encode())
    return path
