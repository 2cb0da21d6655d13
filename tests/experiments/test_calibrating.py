"""A trained model carries the calibration of the tracks that stopped it, and the evaluation scores it on others."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from avfusion.data.settings import GeometrySettings
from avfusion.experiments.evaluate_stage import run_evaluation
from avfusion.experiments.stage import Stage
from avfusion.experiments.train_stage import train_models, training_grid
from avfusion.fusion.files import load_fusion
from avfusion.fusion.track_inference import predict_track
from avfusion.params.params import load_params
from avfusion.scoring.calibration import Calibration

PRESET = Path(__file__).resolve().parents[2] / "avfusion" / "params" / "presets" / "demo.yaml"


def test_from_training_to_the_page(plant: Callable[..., Path]) -> None:
    root = plant(tracks={"train": 4, "val": 9, "test": 2}, seconds=4)
    asked = load_params(PRESET)
    train = asked.train.model_copy(update={"model": "concat", "baselines": ("late",), "epochs": 8, "lr": 3e-3})
    asked = asked.replaced(train=train, geometry=GeometrySettings(fps=25))
    grid = training_grid(root, asked, "cpu")
    train_models(grid, asked)
    model, config = load_fusion(root / "models" / "fusion")
    found = Calibration.from_dict(config["calibration"])
    assert (found.groups, found.split) == (9, "validation")
    tracks = grid.inputs.validation
    values = np.concatenate([predict_track(model, t, asked.geometry, 8, "overlap")[t.valid] for t in tracks])
    labels = np.concatenate([t.labels[t.valid] for t in tracks])
    slope, offset = np.polyfit(values[:, 1].astype(float), labels[:, 1], 1)
    assert (found.slope[1], found.offset[1]) == pytest.approx((slope, offset), abs=1e-5)
    assert load_fusion(root / "models" / "baselines" / "late")[1]["calibration"] != config["calibration"]

    run_evaluation(Stage("evaluate", asked, root, root, root / ".avfusion" / "evaluate"))
    metrics = json.loads((root / "reports" / "evaluate" / "metrics.json").read_text())
    entry = metrics["val"]["concat"]["calibrated"]
    assert (entry["slope_arousal"], entry["offset_arousal"]) == pytest.approx((1, 0), abs=1e-3)
    assert entry["rmse_arousal"] < metrics["val"]["concat"]["rmse_arousal"]
    assert 0.7 < entry["coverage_valence"] <= 1
    assert 0 <= metrics["test"]["concat"]["calibrated"]["coverage_arousal"] <= 1
    assert "calibrated" not in metrics["val"]["late"], "of the main model alone"
    page = " ".join((root / "reports" / "evaluate" / "report.html").read_text().split())
    assert "by a line fitted on 9 validation groups of videos" in page
    assert f"<td>{100 * entry['coverage_valence']:.1f} %</td>" in page


def test_too_few_videos_leave_a_model_without(plant: Callable[..., Path]) -> None:
    root = plant(tracks={"train": 2, "val": 2, "test": 1}, seconds=3)
    asked = load_params(PRESET)
    train = asked.train.model_copy(update={"model": "concat", "baselines": (), "epochs": 1})
    asked = asked.replaced(train=train, geometry=GeometrySettings(fps=25))
    train_models(training_grid(root, asked, "cpu"), asked)
    assert "calibration" not in load_fusion(root / "models" / "fusion")[1]
