"""Features in the layout `frames` trained, compared and evaluated: windows for some models, clips for the others."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from avfusion.data.settings import GeometrySettings
from avfusion.experiments.compare import run_comparison
from avfusion.experiments.grid import Grid
from avfusion.experiments.training import config_of, read_inputs
from avfusion.fusion.reading import Reading
from avfusion.params.params import load_params

PARAMS = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8"))
PARAMS["geometry"] |= {"window_frames": 80, "window_hop": 48}
PARAMS["features"] |= {"layout": "frames"}
PARAMS["robustness"] |= {"stride": 8}
PARAMS["train"] |= {"model": "temporal_concat", "epochs": 3, "lr": 5e-3, "batch_size": 4, "baselines": ["jca"]}
PARAMS["train"]["options"] = {"encoder_width": 8, "blocks": 1, "head_hidden": 8}
PARAMS["common"] |= {"threads": 1}
SECTIONS = ("common", "geometry", "train")
TRACKS = {"train": 3, "val": 2}


@pytest.fixture
def root(plant_project: Callable[..., Path]) -> Path:
    return plant_project(PARAMS, tracks=TRACKS, seconds=8, layout="frames")


def grid_of(root: Path, **geometry: Any) -> Grid:
    found = GeometrySettings.model_validate(PARAMS["geometry"] | geometry)
    return Grid(root, read_inputs(root, found), found, threads=1)


def test_models_train_on_windows_or_on_clips_of_the_same_features(root: Path) -> None:
    params = load_params(root / "params.yaml", SECTIONS)
    grid = grid_of(root)
    configs = {name: config_of(params.train, name) for name in ("temporal_concat", "jca")}
    data = grid.inputs.sequences(grid.geometry, config=configs["temporal_concat"])
    assert data.index.shape == (3 * 4, 10)  # windows of each track's 25 rows start at rows 0, 6, 12 and 15
    assert data.index[:, 0].tolist() == [25 * track + start for track in range(3) for start in (0, 6, 12, 15)]
    assert set(data.index.flatten().tolist()) == set(range(75))
    assert grid.inputs.sequences(grid.geometry, config=configs["jca"]).index.shape == (3 * 4, 16)
    again = data.redrawn(torch.Generator().manual_seed(0))
    assert set(again.index.flatten().tolist()) == set(range(75)), "windows shift within their tracks"
    assert again.index[:, 0].tolist() != data.index[:, 0].tolist()
    assert all(set((row // 25).tolist()) == {int(owner)} for row, owner in zip(again.index, again.owner, strict=True))
    lengths = {}
    for name, config in configs.items():
        finished = grid.train(grid.unit(config))
        lengths[name] = finished.model("cpu").length
        assert [row["epoch"] for row in finished.history] == [1, 2, 3]
        assert all(np.isfinite(row["val_ccc_mean"]) for row in finished.history)
    assert lengths == {"temporal_concat": 10, "jca": 16}


def test_windows_belong_to_the_trainings_of_models_that_read_them(
    root: Path, plant_at: Callable[..., list[str]], tmp_path: Path
) -> None:
    """In the layout `clips` the same model is another training, whatever the windows."""
    params = load_params(root / "params.yaml", SECTIONS)
    other = tmp_path / "clips"
    plant_at(other, tracks=TRACKS, seconds=8)
    for name, differs in (("temporal_concat", True), ("jca", False)):
        config = config_of(params.train, name)
        digests = [
            grid_of(place, **geometry).unit(config).digest
            for place, geometry in ((root, {}), (root, {"window_hop": 40}), (other, {}), (other, {"window_hop": 40}))
        ]
        assert len(set(digests[:3])) == (3 if differs else 1)
        assert digests[2] == digests[3]


def test_a_comparison_says_who_reads_what(root: Path) -> None:
    text = run_comparison(root, ["temporal_concat", "jca"], [0], "val")
    windows, clips = Reading(10, 8, 6).words, Reading(16, 32).words
    assert f"temporal_concat reads {windows}; jca reads {clips}." in " ".join(text.split())
