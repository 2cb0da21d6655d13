import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avfusion.data.settings import GeometrySettings
from avfusion.data.track_data import TrackData
from avfusion.experiments.training import TrainingInputs, read_inputs
from avfusion.training.loop import FusionTraining
from avfusion.training.sequences import sequence_data
from avfusion.training.settings import TrainSettings

GEOMETRY = GeometrySettings(fps=25)


@pytest.fixture
def inputs(plant: Callable[..., Path]) -> TrainingInputs:
    """Four training and two validation tracks whose features hold the labels."""
    return read_inputs(plant(tracks={"train": 4, "val": 2}, seconds=12, noise=0.1), GEOMETRY)


@pytest.fixture
def training(inputs: TrainingInputs) -> Callable[..., FusionTraining]:
    """Makes a small training; keyword arguments are `train`'s keys, or `FusionTraining`'s."""

    def make(name: str = "concat", **arguments: Any) -> FusionTraining:
        own_keys = ("folder", "fingerprint", "data", "validation", "options")
        own = {key: arguments.pop(key) for key in own_keys if key in arguments}
        config = TrainSettings(**({"epochs": 4, "lr": 3e-3, "batch_size": 8, "dropout": 0.3} | arguments))
        stride = inputs.feature_spec.stride
        settings = {"data": inputs.sequences(GEOMETRY), "validation": inputs.validation, "fingerprint": "f"} | own
        return FusionTraining(name, config=config, geometry=GEOMETRY, stride=stride, **settings)

    return make


@pytest.fixture
def training_of_any(inputs: TrainingInputs, training: Callable[..., FusionTraining]) -> Callable[..., FusionTraining]:
    """`training`, but the published network gets the maps of the one size that it takes, and few: it is large."""
    clips = 8

    def on_maps(track: TrackData) -> TrackData:
        rng = np.random.default_rng(0)
        shapes = {"audio": (clips, 512), "visual": (clips, 512, 7, 7)}
        maps = {stream: rng.normal(size=shape).astype(np.float16) for stream, shape in shapes.items()}
        first = {name: getattr(track, name)[:clips] for name in
                 ("clip_ticks", "audio_present", "visual_present", "target_frames")}  # fmt: skip
        return dataclasses.replace(track, **first, **maps)

    def make(name: str, **arguments: Any) -> FusionTraining:
        if name == "released_coattention":
            data = sequence_data([on_maps(inputs.train[0])], stride=inputs.feature_spec.stride)
            arguments |= {"data": data, "validation": [on_maps(inputs.validation[0])], "inference": "tile"}
        return training(name, **arguments)

    return make
