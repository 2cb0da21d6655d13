"""Training of the main model and its baselines on cached features, and the files that it leaves."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from avfusion.corpora.table import Track, read_tracks
from avfusion.data.feature_spec import FeatureSpec
from avfusion.data.labels import read_stamp
from avfusion.data.settings import FramesSettings, GeometrySettings
from avfusion.data.track_data import TrackData, load_split
from avfusion.experiments.start import read_start
from avfusion.fusion.base import FusionModel
from avfusion.fusion.files import save_fusion
from avfusion.fusion.track_inference import predict_track
from avfusion.reports.report import write_csv, write_report
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.runtime.fingerprints import fingerprint
from avfusion.runtime.stamps import content_of
from avfusion.scoring.ccc import ccc
from avfusion.scoring.track_predictions import TARGETS
from avfusion.training.logger import RunLogger
from avfusion.training.loop import HISTORY_COLUMNS, VERSION, FusionTraining, TrainedFusion
from avfusion.training.sequences import SequenceData, sequence_data
from avfusion.training.settings import TrainSettings
from avfusion.training.start import Start

Run = TypeVar("Run", bound=RunLogger)


@dataclass(frozen=True)
class TrainingInputs:
    """What training reads, and digests of it.

    Attributes:
        train: tracks with features, in the order of the table.
        validation: likewise.
        feature_spec: what made all the features.
        digests: of features and labels by split, and of the validation corpus itself, whose sources decide whether
            two models' validation scores may be compared; of the weights that the main model starts from.
        start: those weights, None: random ones.
    """

    train: list[TrackData]
    validation: list[TrackData]
    feature_spec: FeatureSpec
    digests: dict[str, str]
    start: Start | None = None

    def sequences(self, geometry: GeometrySettings, device: str = "cpu") -> SequenceData:
        """The training split as one table of clips."""
        return sequence_data(
            self.train,
            stride=self.feature_spec.stride,
            length=geometry.sequence_clips,
            clip_frames=geometry.clip_frames,
            device=device,
        )


def read_inputs(root: Path, geometry: GeometrySettings, config: TrainSettings | None = None) -> TrainingInputs:
    """Read features, frame times and labels of the training and validation tracks below `root`.

    Args:
        root: the project.
        geometry: section `geometry`.
        config: its `weights` are read, too.

    Raises:
        BadInputError: a split has no track with features; or see `read_start`.
        AVFusionError: feature files disagree about what made them.
    """
    table = read_tracks(root / "data" / "corpus" / "tracks.parquet")
    splits = {split: load_split(root, table, split, geometry) for split in ("train", "val")}
    for split, tracks in splits.items():
        if not tracks:
            raise BadInputError(f"no track of the split {split} has features: run the stage `features`")
    spec = common_spec([track for tracks in splits.values() for track in tracks])
    digests = {"validation_corpus": corpus_digest([track for track in table if track.split == "val"])}
    for split, tracks in splits.items():
        digests[f"features_{split}"] = fingerprint(features={track.track: track.fingerprint for track in tracks})
        digests[f"labels_{split}"] = fingerprint(labels={track.track: _label_digest(root, track) for track in tracks})
    start = read_start(root, config, spec) if config else None
    if start:
        digests["start"] = start.facts["sha256"]
    return TrainingInputs(splits["train"], splits["val"], spec, digests, start)


def common_spec(tracks: Sequence[TrackData]) -> FeatureSpec:
    """The feature spec that all tracks share.

    Raises:
        AVFusionError: two tracks' features were made differently; both are named.
    """
    spec = tracks[0].feature_spec
    if spec is None:
        raise AVFusionError(f"the features of {tracks[0].track} carry no feature spec: run the stage `features` again")
    for track in tracks:
        if track.feature_spec is None or track.feature_spec.digest() != spec.digest():
            raise AVFusionError(
                f"the features of {tracks[0].track} and {track.track} were made with different backbones or "
                "transforms: run the stage `features` again"
            )
    return spec


def corpus_digest(tracks: Sequence[Track]) -> str:
    """Digest of the sources (videos, crops, annotations and their delay) of tracks."""
    return fingerprint(tracks={t.track: [t.video_hash, t.crops_hash, t.labels_hash, t.label_delay_s] for t in tracks})


def training_fingerprint(
    inputs: TrainingInputs, config: TrainSettings, geometry: GeometrySettings, threads: int, device: str
) -> str:
    """Digest of everything that decides the trained models."""
    return fingerprint(
        version=VERSION,
        inputs=inputs.digests,
        feature_spec=inputs.feature_spec.digest(),
        train=config.model_dump(mode="json"),
        geometry=geometry.model_dump(mode="json"),
        threads=threads,
        device=device,
    )


def model_names(config: TrainSettings) -> list[str]:
    """The main model and the baselines, each once."""
    return list(dict.fromkeys((config.model, *config.baselines)))


def config_of(config: TrainSettings, name: str, **values: Any) -> TrainSettings:
    """The section as it stands for one model alone: options belong to `model`, and there are no baselines.

    Args:
        values: keys that are to have other values.
    """
    options = config.options if name == config.model else {}
    return TrainSettings.model_validate(
        config.model_dump() | {"model": name, "options": options, "baselines": ()} | values
    )


def train_models(
    inputs: TrainingInputs,
    config: TrainSettings,
    geometry: GeometrySettings,
    frames: FramesSettings,
    *,
    corpus_name: str,
    root: Path,
    work: Path,
    digest: str,
    device: str,
    open_run: Callable[[str], AbstractContextManager[Run]],
    on_model: Callable[[str, Run, Path, Mapping[str, Any]], None],
) -> None:
    """Train all models, one after the other, and write models/ and reports/train/ below `root`.

    Args:
        frames: how the crops behind the features were made; the models carry it, training does not depend on it.
        work: folder of the checkpoints, one folder per model.
        digest: `training_fingerprint` of all this.
        open_run: gives the run that a model's training is logged to.
        on_model: called with name, run, folder and final metrics when a model's files are written.
    """
    from avfusion.reports.plots.curves import plot_curves  # matplotlib, which sweep's workers do without

    data = inputs.sequences(geometry, device)
    facts = {
        "feature_spec": inputs.feature_spec.to_dict(),
        "geometry": geometry.model_dump(mode="json"),
        "frames": frames.model_dump(mode="json", exclude={"contact_sheets"}),
        "inference": config.inference,
        "corpus": {"name": corpus_name, "validation_digest": inputs.digests["validation_corpus"]},
    }
    results: dict[str, TrainedFusion] = {}
    metrics: dict[str, dict[str, Any]] = {}
    reports = root / "reports" / "train"
    for name in model_names(config):
        training = FusionTraining(
            name,
            data,
            inputs.validation,
            config,
            geometry,
            inputs.feature_spec.stride,
            options=config.options if name == config.model else {},
            start=inputs.start if name == config.model else None,
            folder=work / name,
            fingerprint=digest,
            device=device,
        )
        with open_run(name) as run:
            result = results[name] = training.fit(run)
            scores = {
                split: split_scores(result.model, tracks, geometry, training.stride, config)
                for split, tracks in (("train", inputs.train), ("val", inputs.validation))
            }
            metrics[name] = {"best_epoch": result.best_epoch, "epochs": len(result.history), **scores}
            folder = model_folder(root, name, config)
            own = {"start": training.start.facts} if training.start else {}
            save_fusion(folder, result.model, facts | own)
            plot_curves(work / name / "curves.png", {name: result.history}, {name: result.best_epoch})
            run.log_artifact(work / name / "curves.png")
            on_model(name, run, folder, metrics[name])
    (root / "models" / "baselines").mkdir(parents=True, exist_ok=True)  # an out of the stage, also without any
    rows = [{"model": name, **row} for name, result in results.items() for row in result.history]
    write_csv(reports / "history.csv", rows, ("model", *HISTORY_COLUMNS))
    write_report(reports / "metrics.json", metrics)
    best = {name: result.best_epoch for name, result in results.items()}
    plot_curves(reports / "curves.png", {name: result.history for name, result in results.items()}, best)


def model_folder(root: Path, name: str, config: TrainSettings) -> Path:
    """Where a trained model belongs."""
    return root / "models" / "fusion" if name == config.model else root / "models" / "baselines" / name


def split_scores(
    model: FusionModel, tracks: Sequence[TrackData], geometry: GeometrySettings, stride: int, config: TrainSettings
) -> dict[str, float | None]:
    """Pooled CCC of every labelled frame of the tracks: valence, arousal and their mean."""
    predictions = [predict_track(model, track, geometry, stride, config.inference)[track.valid] for track in tracks]
    pooled, labels = np.concatenate(predictions), np.concatenate([track.labels[track.valid] for track in tracks])
    if len(pooled) < 2:
        return dict.fromkeys((*(f"ccc_{target}" for target in TARGETS), "ccc_mean"))
    scores: dict[str, float | None] = {f"ccc_{name}": ccc(pooled[:, c], labels[:, c]) for c, name in enumerate(TARGETS)}
    return scores | {"ccc_mean": float(np.mean([value for value in scores.values() if value is not None]))}


def _label_digest(root: Path, track: TrackData) -> str:
    return content_of(root / "data" / "labels" / f"{track.track}.parquet", read_stamp) or ""
