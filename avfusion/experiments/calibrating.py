"""Fit a trained model's calibration to the tracks that stopped its training, and score what it gives on others."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from avfusion.data.settings import GeometrySettings
from avfusion.data.track_data import TrackData
from avfusion.fusion.base import FusionModel
from avfusion.fusion.inference import Mode
from avfusion.fusion.track_inference import predict_track
from avfusion.scoring.calibration import Calibration, coverage
from avfusion.scoring.calibration_fit import fit_calibration
from avfusion.scoring.metrics import pooled_scores, valid_pairs
from avfusion.scoring.track_predictions import TARGETS, TrackPredictions, with_predictions

CALIBRATED = "calibrated"


def calibrate_model(
    model: FusionModel,
    tracks: Sequence[TrackData],
    geometry: GeometrySettings,
    stride: int,
    mode: Mode,
    split: str,
) -> Calibration | None:
    """The calibration on tracks that stopped a training (`split`: how); None for fewer than 8 groups with labels."""
    found = [track for track in tracks if track.valid.any()]
    numbers = {group: number for number, group in enumerate(sorted({track.group for track in found}))}
    if not found:
        return None
    predictions = [predict_track(model, track, geometry, stride, mode)[track.valid] for track in found]
    labels = [track.labels[track.valid] for track in found]
    groups = [np.full(len(values), numbers[track.group]) for track, values in zip(found, labels, strict=True)]
    return fit_calibration(np.concatenate(predictions), np.concatenate(labels), np.concatenate(groups), split)


def calibrated_scores(tracks: Sequence[TrackPredictions], model: str, calibration: Calibration) -> dict[str, Any]:
    """What calibrated values and bands give on tracks: `level`, per target `half_width_` and `coverage_`, CCC, slope, …

    `coverage_`: share of frames whose labels lie inside the bands, its mean over groups of videos; None without labels.
    """
    values = [calibration.apply(track.predictions[model]) for track in tracks]
    scores = pooled_scores(with_predictions(tracks, CALIBRATED, values), CALIBRATED)
    kept = {key: scores[key] for key in scores if key.startswith(("ccc_", "rmse_", "slope_", "offset_"))}
    predictions, labels, groups = valid_pairs(tracks, model)
    shares = coverage(calibration, predictions, labels, groups) if len(labels) else [None, None]
    widths = dict(zip((f"half_width_{target}" for target in TARGETS), calibration.half_width, strict=True))
    shown = dict(zip((f"coverage_{target}" for target in TARGETS), shares, strict=True))
    return (
        {"level": calibration.level, "groups": calibration.groups, "split": calibration.split} | widths | shown | kept
    )
