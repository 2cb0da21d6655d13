"""The stage `robustness`: disturbed features and scores are kept while what decides them stays."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from avfusion.corpora.demo.truth import truth_folder
from avfusion.corpora.table import Track, read_tracks
from avfusion.data.feature_spec import FeatureSpec
from avfusion.data.store import Store
from avfusion.data.track_data import TrackData
from avfusion.experiments.evaluate import load_evaluated, load_models, predict_tracks, spread
from avfusion.experiments.grid import Grid
from avfusion.experiments.robustness.conditions import condition_store, signal_conditions, update_conditions
from avfusion.experiments.robustness.evaluation import Variant, write_robustness
from avfusion.experiments.robustness.features import ConditionTask
from avfusion.experiments.training import config_of, model_folder, model_names, read_inputs
from avfusion.experiments.training_store import TrainingUnit
from avfusion.fusion.base import FusionModel
from avfusion.fusion.catalogue import fusion_module
from avfusion.params.params import Params
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.runtime.fingerprints import arrays_digest, fingerprint
from avfusion.runtime.stamped_reports import StampedReport
from avfusion.runtime.stamps import Stamp
from avfusion.runtime.units import unit_digest
from avfusion.scoring.conditions import KINDS
from avfusion.scoring.track_predictions import TrackPredictions

VOICES = 6  # of the babble
BATCH = 8  # clips
FACTS, OTHERS = "robustness.json", ("scores.csv", "robustness.png")


def evaluate_robustness(root: Path, params: Params, *, device: str) -> list[Path]:
    """Bring data/robustness/ and reports/robustness/ up to date; returns the files of the latter.

    Raises:
        BadInputError: `robustness.stride` does not fit, or neither split has labels.
    """
    names, ratio = model_names(params.train), _ratio(params)
    splits = load_evaluated(root, params.geometry)
    folders = {name: model_folder(root, name, params.train) for name in names}
    models, config = load_models(folders, [track for tracks in splits.values() for track in tracks])
    variant = _variant(params) if params.train.epochs else None  # used as it is: there is nothing to compare
    grid, unit = _variant_training(root, params, device) if variant else (None, None)
    split, labelled = _labelled_split(root, params, splits)
    tracks = spread(splits[split], params.robustness.tracks)
    voices = _voices(root)
    store = _store(root, tracks, voices, params, device)
    update_conditions(store, params.execution)
    conditions = [condition.name for condition in signal_conditions(voices)]
    options: dict[str, Any] = {
        "split": split,
        "stride": params.robustness.stride,
        "mode": config["inference"],
        "kinds": [kind for kind in KINDS if kind != "babble" or voices],
        "voices": [voice.stem for voice in voices],
        "seed": params.robustness.seed,
        "variant": variant,
    }
    wanted = _wanted_stamp(params, tracks, labelled, models, unit.digest if unit else None, store, options)
    report = StampedReport(root / "reports" / "robustness", FACTS, OTHERS)
    if report.is_current(wanted):
        print("scored already: models, data, parameters and code are those of reports/robustness/", flush=True)
    else:
        if variant and grid and unit:
            models[variant.name] = grid.train(unit).model()
        report.begin()
        write_robustness(
            root,
            tracks,
            models,
            conditions,
            geometry=params.geometry,
            truth=truth_folder(root, params.corpus),
            ratio=ratio,
            threads=params.common.threads,
            **options,
        )
        report.finish(wanted)
    return [report.folder / name for name in (*OTHERS, FACTS)]


def robustness_store(root: Path, params: Params, *, device: str) -> Store[ConditionTask]:
    """The files of data/robustness/ that should be there."""
    splits = load_evaluated(root, params.geometry)
    split, _ = _labelled_split(root, params, splits)
    tracks = spread(splits[split], params.robustness.tracks)
    return _store(root, tracks, _voices(root), params, device)


def _store(
    root: Path, tracks: Sequence[TrackData], voices: Sequence[Path], params: Params, device: str
) -> Store[ConditionTask]:
    spec, stride = _spec(tracks), params.robustness.stride
    # Tracks have few clips at a wide stride, and batches are filled up: small ones waste less.
    thin = spec.model_copy(update={"stride": stride, "batch_size": min(spec.batch_size, BATCH)})
    table = {track.track: track for track in read_tracks(root / "data" / "corpus" / "tracks.parquet")}
    chosen: list[Track] = [table[track.track] for track in tracks]
    return condition_store(root, chosen, voices, thin, seed=params.robustness.seed, device=device)


def _spec(tracks: Sequence[TrackData]) -> FeatureSpec:
    spec = tracks[0].feature_spec
    if spec is None:
        raise AVFusionError("the features carry no feature spec: run the stage `features` again")
    return spec


def _labelled_split(
    root: Path, params: Params, splits: Mapping[str, Sequence[TrackData]]
) -> tuple[str, list[TrackPredictions]]:
    """The test split where a chosen track of it has labels, else validation; and the labels of the chosen tracks."""
    truth, mode = truth_folder(root, params.corpus), params.train.inference
    for split in ("test", "val"):
        chosen = spread(splits[split], params.robustness.tracks)
        labelled = predict_tracks(chosen, {}, params.geometry, params.robustness.stride, mode, root, truth)
        if any(track.valid.any() for track in labelled):
            return split, labelled
    raise BadInputError("no track of test or val has labels to score by")


def _wanted_stamp(
    params: Params,
    tracks: Sequence[TrackData],
    labelled: Sequence[TrackPredictions],
    models: Mapping[str, FusionModel],
    training: str | None,
    store: Store[ConditionTask],
    options: Mapping[str, Any],
) -> Stamp:
    """What decides reports/robustness/: labels, features, models, parameters and code, that of the models too.

    Args:
        training: digest of the training of the variant, which is not trained where nothing else has changed.
    """
    conditions = {key: stamp.content if (stamp := store.stamp(key)) else None for key in store.wanted}
    weights = {
        name: [model.config(), arrays_digest({key: value.numpy() for key, value in model.state_dict().items()})]
        for name, model in models.items()
    }
    made = fingerprint(
        tracks=[
            [track.track, track.group, track.fingerprint, arrays_digest({"labels": entry.labels, "valid": entry.valid})]
            for track, entry in zip(tracks, labelled, strict=True)
        ],
        conditions=conditions,
        models=list(weights.items()),
        training=training,
        geometry=params.geometry.model_dump(mode="json"),
        threads=params.common.threads,
        ratio=_ratio(params),
        options=repr(sorted(options.items())),
    )
    return Stamp(made, unit_digest("robustness", *sorted({fusion_module(model.name) for model in models.values()})))


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


def _variant(params: Params) -> Variant:
    rate, main = params.robustness.modality_dropout, params.train.model
    name = f"{main}, modality dropout {rate:g}" if rate else f"{main}, no modality dropout"
    return Variant(name, rate, params.train.modality_dropout)


def _variant_training(root: Path, params: Params, device: str) -> tuple[Grid, TrainingUnit]:
    """The training of the main model once more, with `robustness.modality_dropout`."""
    inputs = read_inputs(root, params.geometry, params.train, stopping=params.train.stopping)
    grid = Grid(root, inputs, params.geometry, params.common.threads, device)
    rate = params.robustness.modality_dropout
    return grid, grid.unit(config_of(params.train, params.train.model, modality_dropout=rate))


def _voices(root: Path) -> list[Path]:
    """Sound of training videos in whose group no track is scored."""
    tracks = read_tracks(root / "data" / "corpus" / "tracks.parquet")
    scored = {track.group for track in tracks if track.split in ("val", "test")}
    videos = {track.video for track in tracks if track.split == "train" and track.group not in scored}
    paths = [root / "data" / "audio" / f"{video}.wav" for video in sorted(videos)]
    return [path for path in paths if path.is_file()][:VOICES]
