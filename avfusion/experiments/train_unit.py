"""How a unit of the grid is trained: what of the unit and the settings reaches the loop, and as what."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from avfusion.data.feature_spec import FeatureSpec
from avfusion.data.settings import GeometrySettings
from avfusion.data.track_data import TrackData
from avfusion.training.logger import RunLogger
from avfusion.training.loop import FusionTraining, TrainedFusion
from avfusion.training.sequences import SequenceData, sequence_data

if TYPE_CHECKING:
    from avfusion.experiments.training_store import TrainingUnit


def training_table(
    tracks: Sequence[TrackData], spec: FeatureSpec, geometry: GeometrySettings, device: str = "cpu"
) -> SequenceData:
    """The clips of training tracks as one table on `device`."""
    return sequence_data(
        tracks, stride=spec.stride, length=geometry.sequence_clips, clip_frames=geometry.clip_frames, device=device
    )


def train_unit(
    unit: "TrainingUnit",
    data: SequenceData,
    spec: FeatureSpec,
    geometry: GeometrySettings,
    logger: RunLogger,
    *,
    folder: Path,
    device: str,
    quiet: bool,
) -> TrainedFusion:
    """Train one model on `data`, the table of its fold's training tracks.

    Args:
        folder: where the checkpoint is kept.
    """
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
        fingerprint=unit.digest,
        device=device,
        quiet=quiet,
    )
    return training.fit(logger)
