"""Train and score one model of the grid: hand its unit, its tracks and the settings to the training loop."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from avfusion.data.feature_spec import FeatureSpec
from avfusion.data.settings import GeometrySettings
from avfusion.data.track_data import TrackData
from avfusion.fusion.base import FusionModel
from avfusion.fusion.reading import Reading
from avfusion.runtime.fingerprints import fingerprint
from avfusion.training.determinism import make_deterministic
from avfusion.training.logger import RunLogger
from avfusion.training.loop import FusionTraining, TrainedFusion, split_scores
from avfusion.training.precision import resolve_precision
from avfusion.training.sequences import SequenceData, sequence_data
from avfusion.training.settings import TrainSettings

if TYPE_CHECKING:
    from avfusion.experiments.training_store import TrainingUnit


def training_table(
    tracks: Sequence[TrackData], spec: FeatureSpec, reading: Reading, device: str = "cpu"
) -> SequenceData:
    """The clips of training tracks as one table on `device`, with the sequences of models of this reading."""
    return sequence_data(
        tracks,
        stride=spec.stride,
        length=reading.length,
        spacing=reading.spacing,
        hop=reading.hop,
        device=device,
    )


def train_unit(
    unit: "TrainingUnit",
    data: SequenceData,
    spec: FeatureSpec,
    geometry: GeometrySettings,
    logger: RunLogger,
    *,
    folder: Path,
    threads: int,
    device: str,
    quiet: bool,
) -> TrainedFusion:
    """Train one model on `data`, the table of its fold's training tracks.

    Args:
        folder: where the checkpoint is kept; one from a device or precision other than this process's is refused.
        threads: of torch; sums are split by it.
    """
    make_deterministic(threads)
    kind, precision = torch.device(device).type, resolve_precision(unit.config.amp, device).name
    training = FusionTraining(
        unit.config.model,
        data,
        unit.fold.validation,
        unit.config,
        geometry,
        spec.stride,
        options=unit.config.options,
        start=unit.start,
        folder=folder,
        fingerprint=fingerprint(training=unit.digest, device=kind, precision=precision),
        device=device,
        quiet=quiet,
    )
    return training.fit(logger)


def unit_scores(
    model: FusionModel,
    splits: Mapping[str, Sequence[TrackData]],
    spec: FeatureSpec,
    geometry: GeometrySettings,
    config: TrainSettings,
    *,
    threads: int,
) -> dict[str, dict[str, float | None]]:
    """Score a trained model on the tracks of each split (`split_scores`)."""
    make_deterministic(threads)
    return {split: split_scores(model, tracks, geometry, spec.stride, config) for split, tracks in splits.items()}
