from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from avfusion.config import Geometry, Train
from avfusion.training.experiment import TrainingInputs, read_inputs
from avfusion.training.loop import FusionTraining

GEOMETRY = Geometry(fps=25)


@pytest.fixture
def inputs(plant: Callable[..., Path]) -> TrainingInputs:
    """Four training and two validation tracks whose features hold the labels."""
    return read_inputs(plant(tracks={"train": 4, "val": 2}, seconds=12, noise=0.1), GEOMETRY)


@pytest.fixture
def training(inputs: TrainingInputs) -> Callable[..., FusionTraining]:
    """Makes a small training; keyword arguments are `train`'s keys, or `FusionTraining`'s."""

    def make(name: str = "concat", **arguments: Any) -> FusionTraining:
        own = {key: arguments.pop(key) for key in ("folder", "fingerprint", "data", "validation") if key in arguments}
        config = Train(**({"epochs": 4, "lr": 3e-3, "batch_size": 8, "dropout": 0.3} | arguments))
        stride = inputs.feature_spec.stride
        settings = {"data": inputs.sequences(GEOMETRY), "validation": inputs.validation, "fingerprint": "f"} | own
        return FusionTraining(name, config=config, geometry=GEOMETRY, stride=stride, **settings)

    return make
