"""The score as the published code computes it (code of arXiv 2209.09068), reported beside ours, never instead.

Frames without a valid label are kept: they count as pairs of prediction 0 and label 0, which raises CCC. Smoothing pads
the ends of a track with zeros.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from avfusion.scoring.metrics import pooled_scores
from avfusion.scoring.smoothing import PUBLISHED_FRAMES, smooth
from avfusion.scoring.track_predictions import TrackPredictions

DESCRIPTION = (
    "as the published code: frames without a valid label are predicted 0 and counted as pairs with label 0 (this "
    "inflates CCC); smoothing over 20 and 50 frames of that curve, with zeros beyond its ends; tracks without any "
    "label left out"
)


def released_scores(
    tracks: Sequence[TrackPredictions], model: str, *, windows: Sequence[int] = PUBLISHED_FRAMES
) -> dict[str, Any]:
    """The entry `released_protocol` of one model in metrics.json: as `pooled_scores`, with an entry `smoothed`.

    Args:
        tracks: of one split.
        windows: frames of the uniform filter for valence and arousal.
    """
    zeroed = [_zeroed(track, model) for track in tracks if model in track.predictions and track.valid.any()]
    smoothed = [
        replace(track, predictions={model: smooth(track.predictions[model], windows, edges="constant")})
        for track in zeroed
    ]
    return pooled_scores(zeroed, model) | {"smoothed": pooled_scores(smoothed, model)}


def _zeroed(track: TrackPredictions, model: str) -> TrackPredictions:
    counted = track.valid[:, None]
    return replace(
        track,
        predictions={model: np.where(counted, track.predictions[model], 0)},
        labels=np.where(counted, track.labels, 0),
        valid=np.ones(len(track.valid), bool),
    )
