"""Evaluation of trained models on the validation and test tracks: predictions, scores, comparisons, pictures."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from avfusion.backbones.seen_data import model_origins, seen_data
from avfusion.corpora.demo.truth import ORACLES, read_truth, truth_folder
from avfusion.corpora.notes import corpus_notes, label_origin
from avfusion.corpora.settings import CorpusSettings
from avfusion.corpora.table import read_tracks
from avfusion.data.audio import audio_samples
from avfusion.data.feature_spec import FeatureSpec
from avfusion.data.frames import read_face_confidence
from avfusion.data.presence import frame_presence
from avfusion.data.settings import GeometrySettings
from avfusion.data.track_data import TrackData, load_split
from avfusion.experiments.ablation import attention_facts, attention_gains
from avfusion.experiments.calibrating import calibrated_scores
from avfusion.fusion.attention import attention_over_time
from avfusion.fusion.base import FusionModel
from avfusion.fusion.catalogue import head_kind
from avfusion.fusion.files import load_fusion
from avfusion.fusion.reading import Reading
from avfusion.fusion.track_inference import predict_track, track_reading
from avfusion.reports.page.page import PageSources, write_page
from avfusion.reports.plots.bars import plot_ccc
from avfusion.reports.plots.plane import plot_plane
from avfusion.reports.plots.traces import plot_track
from avfusion.reports.report import (
    comparisons,
    conditions,
    headline,
    interval_facts,
    metrics_table,
    write_categories,
    write_report,
    write_track_scores,
)
from avfusion.reports.settings import EvaluateSettings, ReportSettings
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.scoring.calibration import Calibration
from avfusion.scoring.categories import Categories, scores_by_category
from avfusion.scoring.kept_sums import KeptSums
from avfusion.scoring.released_protocol import DESCRIPTION
from avfusion.scoring.track_predictions import TrackPredictions, with_predictions, write_track_predictions
from avfusion.training.determinism import make_deterministic

SPLITS = ("val", "test")
T = TypeVar("T")
Splits = Mapping[str, Sequence[TrackPredictions]]


def evaluate_models(
    root: Path,
    folders: Mapping[str, Path],
    digest: str,
    *,
    threads: int,
    corpus: CorpusSettings,
    geometry: GeometrySettings,
    config: EvaluateSettings,
    report: ReportSettings,
    controls: Mapping[str, FusionModel] | None = None,
) -> None:
    """Predict every frame of the validation and test tracks, score, compare and draw: all of reports/evaluate/.

    Args:
        folders: of the models by name, the main one first.
        controls: trained without attention, by the model's name; for `evaluate.ablate`.
    """
    make_deterministic(threads)
    tracks = load_evaluated(root, geometry)
    everything = [track for split in tracks.values() for track in split]
    models, trained = load_models(folders, everything)
    mode, stride = trained["inference"], trained["feature_spec"]["stride"]
    truth = truth_folder(root, corpus)
    splits = {
        split: predict_tracks(entries, models, geometry, stride, mode, root, truth) for split, entries in tracks.items()
    }
    names, folder = list(models), root / "reports" / "evaluate"
    main = {"name": names[0], "digest": digest}
    protocol = protocol_facts(geometry, stride, mode, config, main, trained.get("stopping", "validation"))
    seen = seen_data(model_origins(FeatureSpec.from_dict(trained["feature_spec"]), trained.get("start")), corpus.name)
    marks = {split: seen.on(split).mark for split in splits if seen.on(split).mark}
    protocol["seen_data"] = {"marks": marks, "notes": list(seen.notes)}
    protocol["heads"] = {name: head_kind(model.name, model.options) for name, model in models.items()}
    protocol["sequences"] = {
        name: track_reading(model, everything[0], geometry, stride).words for name, model in models.items()
    }
    if origin := label_origin(corpus.name):
        protocol["labels"] = origin
    gains = {}
    if config.ablate:
        gains = {
            split: attention_gains(splits[split], entries, models, controls or {}, geometry, stride, mode, config)
            for split, entries in tracks.items()
        }
        protocol["attention"] = {name: attention_facts(model.name, model.options) for name, model in models.items()}
    table = read_tracks(root / "data" / "corpus" / "tracks.parquet")
    attributes = {track.track: dict(track.attributes) for track in table if track.attributes}
    line = trained.get("calibration")
    calibration = Calibration.from_dict(line) if line else None
    notes = corpus_notes(corpus.name)
    write_evaluation(folder, splits, names, config, protocol, notes, gains, attributes, calibration)
    sources = page_sources(root, models[names[0]], everything, geometry, corpus.name)
    write_page(folder, splits, names, config, report, sources)


def load_evaluated(root: Path, geometry: GeometrySettings) -> dict[str, list[TrackData]]:
    """Validation and test tracks with features, by split.

    Raises:
        BadInputError: no validation track has features.
    """
    table = read_tracks(root / "data" / "corpus" / "tracks.parquet")
    splits = {split: load_split(root, table, split, geometry) for split in SPLITS}
    if not splits["val"]:
        raise BadInputError("no track of the split val has features: run the stage `features`")
    return splits


def load_models(
    folders: Mapping[str, Path], tracks: Sequence[TrackData]
) -> tuple[dict[str, FusionModel], dict[str, Any]]:
    """The models in `folders` by name, and the config of the first one.

    Raises:
        AVFusionError: a model was trained on features of another spec than the tracks'.
    """
    models: dict[str, FusionModel] = {}
    configs = []
    for name, folder in folders.items():
        models[name], config = load_fusion(folder)
        configs.append(config)
        spec = FeatureSpec.from_dict(config["feature_spec"])
        for track in tracks:
            if track.feature_spec is None or track.feature_spec.digest() != spec.digest():
                raise AVFusionError(
                    f"{folder} was trained on other features than those of {track.track}: run the stage `train`"
                )
    return models, configs[0]


def predict_tracks(
    tracks: Sequence[TrackData],
    models: Mapping[str, FusionModel],
    geometry: GeometrySettings,
    stride: int,
    mode: Any,
    root: Path,
    truth: Path | None,
) -> list[TrackPredictions]:
    """Predictions of all models for every frame; the demo corpus adds its oracles, and labels where none are given.

    Args:
        root: the project, whose stores say when there was a face and sound.
        truth: folder of the truth of the tracks, as `truth_folder` gives it.
    """
    found = []
    for track in tracks:
        predictions = {name: predict_track(model, track, geometry, stride, mode) for name, model in models.items()}
        entry = TrackPredictions(
            track=track.track,
            video=track.video,
            split=track.split,
            time_s=track.time_s,
            labels=track.labels,
            valid=track.valid,
            presence=stored_presence(root, track),
            predictions=predictions,
            features=track.fingerprint,
            group=track.group,
        )
        if known := read_truth(truth, track.track, len(track.time_s)):
            entry = replace(entry, predictions=predictions | known.oracles, conditions=known.conditions)
            if not track.valid.any():
                entry = replace(entry, labels=known.labels, valid=known.valid)
        found.append(entry)
    return found


def with_model(
    entries: Sequence[TrackPredictions],
    tracks: Sequence[TrackData],
    name: str,
    model: FusionModel,
    geometry: GeometrySettings,
    stride: int,
    mode: Any,
) -> list[TrackPredictions]:
    """What `predict_tracks` gave for these tracks, with the predictions of one more model."""
    values = [predict_track(model, track, geometry, stride, mode) for track in tracks]
    return with_predictions(entries, name, values)


def stored_presence(root: Path, track: TrackData) -> np.ndarray:
    """Presence (N, 2) bool of audio and visual stream in the clip that ends at each frame; reads no crop, no sound."""
    spec = _spec(track)
    face = read_face_confidence(root / "data" / "frames" / f"{track.track}.parquet") > 0
    samples = audio_samples(root / "data" / "audio" / f"{track.video}.wav")
    return frame_presence(track.time_s, face, samples, spec)


def _spec(track: TrackData) -> FeatureSpec:
    if track.feature_spec is None:
        raise AVFusionError(f"the features of {track.track} carry no feature spec: run the stage `features` again")
    return track.feature_spec


def page_sources(
    root: Path, model: FusionModel, tracks: Sequence[TrackData], geometry: GeometrySettings, corpus: str
) -> PageSources:
    """What the page asks of a track: the model's attention, computed when it is asked for, and its crops."""
    by_name = {track.track: track for track in tracks}

    def attention(name: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        track = by_name[name]
        stride = _spec(track).stride
        ends = np.interp(track.clip_ticks, track.frame_ticks, track.time_s)
        return ends, attention_over_time(model, track, geometry, stride)

    return PageSources(attention, root / "data" / "frames", corpus)


def write_evaluation(
    folder: Path,
    splits: Splits,
    models: Sequence[str],
    config: EvaluateSettings,
    protocol: Mapping[str, Any],
    notes: Sequence[str] = (),
    gains: Mapping[str, Mapping[str, Any]] | None = None,
    attributes: Categories | None = None,
    calibration: Calibration | None = None,
) -> dict[str, Any]:
    """Write the folder (reports/evaluate/) and summary.json beside it; `models` begins with the main one.

    Args:
        notes: what readers must know about the models, written on the traces.
        gains: `attention_gains` by split, which metrics.json then has in the models' entries, as `attention`.
        attributes: of the people, a category by attribute, by track; metrics.json then has `attributes`, likewise.
        calibration: of the main model; metrics.json then has `calibrated` in its entries (`calibrated_scores`).

    Returns:
        the contents of metrics.json.
    """
    main, others = models[0], models[1:]
    metrics = metrics_table(splits, models, windows_s=config.windows_s, released=config.released_protocol)
    for split, found in (gains or {}).items():
        for name, gain in found.items():
            metrics[split][name]["attention"] = gain
    if attributes:
        for split, entries in splits.items():
            for name in models:
                metrics[split][name]["attributes"] = scores_by_category(entries, name, attributes)
    for split, mark in protocol.get("seen_data", {}).get("marks", {}).items():
        for name in models:
            metrics[split][name]["seen_data"] = mark
    if calibration:
        for split, entries in splits.items():
            metrics[split][main]["calibrated"] = calibrated_scores(entries, main, calibration)
    if "labels" in protocol:
        for scores in metrics.values():
            for entry in scores.values():
                entry["labels"] = protocol["labels"]
    facts = interval_facts(splits)
    for name in ("predictions", "traces"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for tracks in splits.values():
        for track in tracks:
            write_track_predictions(folder / "predictions" / f"{track.track}.parquet", track, main)
        for track in spread(tracks, config.trace_plots):
            plot_track(folder / "traces" / f"{track.track}.png", track, main, config.windows_s, notes)
    (folder / "traces").mkdir(parents=True, exist_ok=True)  # an out of the stage, also where nothing is to be drawn
    oracles = [name for name in ORACLES if any(name in entries for entries in metrics.values())]
    write_track_scores(folder / "tracks.csv", splits, [*models, *oracles])
    write_categories(folder / "attributes.csv", metrics)
    differences = comparisons(splits, main, others)
    write_report(folder / "comparisons.json", differences)
    write_report(folder / "conditions.json", conditions(splits, models))
    write_report(folder / "protocol.json", {**protocol, "intervals": facts})
    shown = "test" if any(track.valid.any() for track in splits.get("test", [])) else "val"
    plot_plane(folder / "plane.png", splits[shown], main, shown)
    plot_ccc(folder / "ccc.png", metrics, [*others, main], facts["notes"])
    kept = KeptSums.of(splits.get("val", []), main, str(protocol["model"]["digest"]))
    write_report(folder / "video_sums.json", kept.content())
    write_report(folder / "metrics.json", metrics)
    write_report(folder.parent / "summary.json", headline(metrics, differences, main, others))
    return metrics


def protocol_facts(
    geometry: GeometrySettings,
    stride: int,
    mode: str,
    config: EvaluateSettings,
    model: Mapping[str, str],
    stopping: str = "validation",
) -> dict[str, Any]:
    """How the numbers came about, in words and parameters; `model` has the main model's name and digest."""
    return {
        "stopping": stopping,
        "model": dict(model),
        "pooling": "pooled: all valid frames of all tracks of the split, concatenated",
        "inference": mode,
        "geometry": geometry.model_dump(mode="json"),
        "stride": stride,
        "sequences": {model["name"]: Reading(geometry.sequence_clips, geometry.clip_frames).words},
        "between_clips": "linear, held at the ends",
        "clipped_to": [-1, 1],
        "smoothing": {
            "filter": "uniform, per track, over all frames",
            "edges": "nearest",
            "valence_s": config.smoothing_valence_s,
            "arousal_s": config.smoothing_arousal_s,
        },
        "released_protocol": DESCRIPTION if config.released_protocol else None,
        "test_labels": "the corpus's own, or the known truth of the demo corpus; null where there is neither",
    }


def trace_paths(folder: Path) -> list[Path]:
    """The trace plots, sorted."""
    return sorted((folder / "traces").glob("*.png"))


def spread(tracks: Sequence[T], count: int | None) -> list[T]:
    """`count` tracks, evenly over the list; None: all."""
    count = len(tracks) if count is None else min(count, len(tracks))
    return [tracks[i * len(tracks) // count] for i in range(count)]
