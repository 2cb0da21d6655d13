import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avfusion.config import Geometry, Train
from avfusion.data.track_data import TrackData
from avfusion.training.experiment import TrainingInputs, read_inputs
from avfusion.training.loop import FusionTraining
from avfusion.training.sequences import sequence_data

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


@pytest.fixture
def training_of_any(inputs: TrainingInputs, training: Callable[..., FusionTraining]) -> Callable[..., FusionTraining]:
    """`training`, but the published network gets the maps of the one size that it takes."""

    def on_maps(tracks: list[TrackData]) -> list[TrackData]:
        rng = np.random.default_rng(0)
        shapes = {"audio": (512,), "visual": (512, 7, 7)}
        return [
            dataclasses.replace(
                track,
                **{s: rng.normal(size=(len(track.audio), *shape)).astype(np.float16) for s, shape in shapes.items()},
            )
            for track in tracks
        ]

    def make(name: str, **arguments: Any) -> FusionTraining:
        if name == "released_coattention":
            data = sequence_data(on_maps(inputs.train[:1]), stride=inputs.feature_spec.stride)
            arguments |= {"data": data, "validation": on_maps(inputs.validation[:1])}
        return training(name, **arguments)

    return make
