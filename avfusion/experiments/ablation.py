"""What attention adds: predictions of trained models with neutral attention, and with a stream's clips shuffled."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from avfusion.data.settings import GeometrySettings
from avfusion.data.track_data import TrackData
from avfusion.fusion.base import FusionModel
from avfusion.fusion.catalogue import control_of, find_fusion, has_attention
from avfusion.fusion.inference import Mode
from avfusion.fusion.neutral import gate_means
from avfusion.fusion.track_inference import predict_track
from avfusion.reports.attention_gain import ABLATIONS, NEUTRAL, RETRAINED, SHUFFLED, ablated_name, control_words
from avfusion.reports.settings import EvaluateSettings
from avfusion.scoring.metrics import paired_difference
from avfusion.scoring.track_predictions import TrackPredictions, with_predictions
from avfusion.training.settings import TrainSettings


def ablated_predictions(
    model: FusionModel,
    gates: Mapping[str, torch.Tensor],
    tracks: Sequence[TrackData],
    geometry: GeometrySettings,
    stride: int,
    mode: Mode,
    *,
    draw: int,
) -> dict[str, list[np.ndarray]]:
    """Predictions (N, 2) of each track's frames, by ablation (see `reports.attention_gain`).

    Models with attention have `neutral`, models of two streams `audio_shuffled` and `face_shuffled`.

    Args:
        gates: where neutral gates are held, from `gate_means` over the plain predictions of these tracks.
        draw: seed of the shuffling.
    """
    found = {}
    if has_attention(model.name, model.options):
        with model.neutralised(gates):
            found[NEUTRAL] = [predict_track(model, track, geometry, stride, mode) for track in tracks]
    if len(model.streams) == 2:
        for ablation, stream in SHUFFLED.items():
            shuffled = (shuffle_clips(track, stream, draw) for track in tracks)
            found[ablation] = [predict_track(model, track, geometry, stride, mode) for track in shuffled]
    return found


def attention_gains(
    entries: Sequence[TrackPredictions],
    tracks: Sequence[TrackData],
    models: Mapping[str, FusionModel],
    controls: Mapping[str, FusionModel],
    geometry: GeometrySettings,
    stride: int,
    mode: Mode,
    config: EvaluateSettings,
) -> dict[str, dict[str, Any]]:
    """What attention adds on tracks: by model and ablation the `paired_difference` of the model from its ablated self.

    Args:
        entries: the tracks with the models' own predictions.
        controls: of the models that have one, by the model's name.
    """
    gains: dict[str, dict[str, Any]] = {}
    for name, model in models.items():
        with gate_means(model, model.gate_maps) as gates:
            for track in tracks if model.gate_maps else ():
                predict_track(model, track, geometry, stride, mode)
        found = ablated_predictions(model, gates, tracks, geometry, stride, mode, draw=config.seed)
        if control := controls.get(name):
            found[RETRAINED] = [predict_track(control, track, geometry, stride, mode) for track in tracks]
        gains[name] = {}
        for ablation in [ablation for ablation in ABLATIONS if ablation in found]:
            other = ablated_name(name, ablation)
            both = with_predictions(entries, other, found[ablation])
            gains[name][ablation] = paired_difference(both, name, other)
    return {name: gain for name, gain in gains.items() if gain}


def shuffle_clips(track: TrackData, stream: str, draw: int) -> TrackData:
    """The track with the features of one stream, `audio` or `visual`, in random order among the clips that have it."""
    features, present = getattr(track, stream), np.flatnonzero(getattr(track, f"{stream}_present"))
    order = np.arange(len(features))
    order[present] = np.random.default_rng((draw, zlib.crc32(track.track.encode()))).permutation(present)
    return replace(track, **{stream: np.asarray(features)[order]})  # type: ignore[arg-type]


def attention_facts(name: str, options: Mapping[str, Any]) -> dict[str, str]:
    """What is `neutral` in a model's attention, and what its `control` is, in words; "" where there is nothing."""
    neutral = find_fusion(name).facts.get("neutral_form", "") if has_attention(name, options) else ""
    return {"neutral": neutral, "control": control_words(name, control_of(name, options))}


def control_config(config: TrainSettings) -> TrainSettings | None:
    """Section `train` of a model's control, which is trained without attention; None: it has none.

    A model that starts from given weights has none, since its control cannot start from them.

    Args:
        config: of the model alone (`config_of`).
    """
    found = control_of(config.model, config.options)
    if found is None or config.weights:
        return None
    return TrainSettings.model_validate(config.model_dump() | {"model": found[0], "options": found[1]})
