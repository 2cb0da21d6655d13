"""Robustness of the trained models on some tracks: features of disturbed streams, scores, and their files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from avfusion.corpora.demo.truth import truth_folder
from avfusion.corpora.table import read_tracks
from avfusion.data.track_data import TrackData
from avfusion.experiments.evaluate import load_evaluated, load_models, predict_tracks
from avfusion.experiments.grid import Grid
from avfusion.experiments.robustness.features import DisturbedTask, disturbed_features
from avfusion.experiments.robustness.scores import (
    COLUMNS,
    Disturbed,
    Draws,
    dropout_gain,
    predict_conditions,
    score_rows,
    thin_out,
)
from avfusion.experiments.training import config_of, model_folder, model_names, read_inputs
from avfusion.fusion.base import FusionModel
from avfusion.params.params import Params
from avfusion.reports.plots.robustness import plot_robustness
from avfusion.reports.report import write_csv, write_report
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.runtime.execution import run_tasks
from avfusion.scoring.bootstrap import FEW_VIDEOS, NOTE
from avfusion.scoring.conditions import KINDS

VOICES = 6  # of the babble
BATCH = 8  # clips
ABSENT_SHARE = 0.5  # at which modality dropout is judged


def evaluate_robustness(root: Path, params: Params, *, device: str) -> list[Path]:
    """Write reports/robustness/; returns its files.

    Raises:
        BadInputError: `robustness.stride` does not fit, or neither split has labels.
    """
    names, ratio = model_names(params.train), _ratio(params)
    splits = load_evaluated(root, params.geometry)
    folders = {name: model_folder(root, name, params.train) for name in names}
    models, config = load_models(folders, [track for tracks in splits.values() for track in tracks])
    spec = splits["val"][0].feature_spec
    if spec is None:
        raise AVFusionError("the features carry no feature spec: run the stage `features` again")
    stride, mode = params.robustness.stride, config["inference"]
    variant = _variant(params) if params.train.epochs else None  # used as it is: there is nothing to compare
    if variant:
        models[variant] = _train_variant(root, params, device)
    truth = truth_folder(root, params.corpus)
    for split in ("test", "val"):
        tracks = [thin_out(track, ratio) for track in _chosen(splits[split], params.robustness.tracks)]
        clean = predict_tracks(tracks, models, params.geometry, stride, mode, root, truth)
        if any(track.valid.any() for track in clean):
            break
    else:
        raise BadInputError("no track of test or val has labels to score by")
    voices = _voices(root)
    # Tracks have few clips at a wide stride, and batches are filled up: small ones waste less.
    thin = spec.model_copy(update={"stride": stride, "batch_size": min(spec.batch_size, BATCH)})
    disturbed = _disturbed(root, tracks, voices, thin.model_dump_json(), params, device)
    seed = params.robustness.seed
    predicted = predict_conditions(clean, tracks, disturbed, models, params.geometry, stride, mode, seed)
    kinds = [kind for kind in KINDS if kind != "babble" or voices]
    draws = Draws(params.robustness.bootstrap, seed)
    rows = score_rows(predicted, list(models), kinds, draws)
    dropout = None
    if variant:
        rates = params.train.modality_dropout, params.robustness.modality_dropout
        pair = (names[0], variant) if rates[0] <= rates[1] else (variant, names[0])
        gain = dropout_gain(predicted, *pair, ABSENT_SHARE, draws)
        dropout = {"rates": sorted(rates), "absent_share": ABSENT_SHARE, "by_stream": gain}
    folder = root / "reports" / "robustness"
    videos = int(rows[0]["videos"])
    facts = {
        "split": split,
        "tracks": [track.track for track in tracks],
        "videos": videos,
        "note": NOTE if videos < FEW_VIDEOS else "",
        "stride": stride,
        "inference": mode,
        "pooling": "pooled: all valid frames of these tracks, concatenated; unsmoothed",
        "babble": [voice.stem for voice in voices],
        "modality_dropout": dropout,
    }
    write_csv(folder / "scores.csv", rows, COLUMNS)
    write_report(folder / "robustness.json", facts)
    plot_robustness(folder / "robustness.png", rows, names[0], _subtitle(facts))
    return [folder / name for name in ("scores.csv", "robustness.json", "robustness.png")]


def _ratio(params: Params) -> int:
    """Clips of the feature files per clip of the stage's stride."""
    stride, wanted, clip = params.features.stride, params.robustness.stride, params.geometry.clip_frames
    if wanted % stride or clip % wanted:
        allowed = ", ".join(str(n) for n in range(stride, clip + 1, stride) if clip % n == 0)
        raise BadInputError(
            f"params.yaml: robustness.stride is {wanted}: must be a multiple of features.stride that divides "
            f"geometry.clip_frames ({allowed})"
        )
    return wanted // stride


def _variant(params: Params) -> str:
    rate = params.robustness.modality_dropout
    return f"{params.train.model}, modality dropout {rate:g}" if rate else f"{params.train.model}, no modality dropout"


def _train_variant(root: Path, params: Params, device: str) -> FusionModel:
    """The main model once more, trained with `robustness.modality_dropout`."""
    grid = Grid(root, read_inputs(root, params.geometry, params.train), params.geometry, params.common.threads, device)
    rate = params.robustness.modality_dropout
    unit = grid.unit(config_of(params.train, params.train.model, modality_dropout=rate))
    return grid.train(unit).model()


def _chosen(tracks: Sequence[TrackData], count: int | None) -> list[TrackData]:
    """`count` tracks, evenly over the split."""
    count = len(tracks) if count is None else min(count, len(tracks))
    return [tracks[i * len(tracks) // count] for i in range(count)]


def _voices(root: Path) -> list[Path]:
    """Sound of training videos, which no scored track shares."""
    videos = {
        track.video for track in read_tracks(root / "data" / "corpus" / "tracks.parquet") if track.split == "train"
    }
    paths = [root / "data" / "audio" / f"{video}.wav" for video in sorted(videos)]
    return [path for path in paths if path.is_file()][:VOICES]


def _disturbed(
    root: Path, tracks: Sequence[TrackData], voices: Sequence[Path], spec: str, params: Params, device: str
) -> Mapping[str, Disturbed]:
    tasks = []
    for track in tracks:
        sound = root / "data" / "audio" / f"{track.video}.wav"
        task = DisturbedTask(
            track=track.track,
            frames=root / "data" / "frames" / f"{track.track}.parquet",
            sound=sound if sound.is_file() else None,
            voices=tuple(voices),
            backbones=root / "models" / "backbones",
            spec=spec,
            seed=params.robustness.seed,
            device=device,
        )
        tasks.append((track.track, task))
    execution = params.execution
    outcomes = run_tasks(
        disturbed_features, tasks, executor=execution.executor, workers=execution.workers, label="disturbed features"
    )
    return {outcome.key: outcome.value or {} for outcome in outcomes}


def _subtitle(facts: Mapping[str, Any]) -> str:
    note = f" ({facts['note']})" if facts["note"] else ""
    count = len(facts["tracks"])
    return (
        f"{facts['split']}, {count} tracks of {facts['videos']} videos, a clip every {facts['stride']} frames; "
        f"shaded: 95 % interval of the main model{note}"
    )
