"""The backbones stage: both streams, from the stores to weights files, history and provenance."""

import csv
import io
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from avfusion.atomic import write_text
from avfusion.backbones.feature_files import STREAMS, audio_transform, clip_geometry
from avfusion.backbones.registry import build_backbone, visual_transform
from avfusion.backbones.weights import read_backbone_record, save_backbone
from avfusion.config import Params
from avfusion.corpora.table import Track
from avfusion.data import audio as audio_store
from avfusion.data import frames as frame_store
from avfusion.data import labels as label_store
from avfusion.data.clips import Clips, SoundClips, VisualClips
from avfusion.data.labelled_tracks import labelled_tracks
from avfusion.execution import run_tasks
from avfusion.fingerprints import file_digest, fingerprint
from avfusion.training.backbones import (
    BackboneTrainer,
    BackboneTraining,
    Prepare,
    audio_preparation,
    visual_preparation,
)
from avfusion.training.determinism import make_deterministic
from avfusion.training.logger import NullLogger, RunLogger
from avfusion.training.precision import resolve_precision

VERSION = 1  # of the training code: raised when the same inputs would give other weights
VALIDATION_STRIDE = 8


def train_backbones(
    root: Path,
    tracks: Sequence[Track],
    params: Params,
    work: Path,
    *,
    device: str = "cpu",
    logger: RunLogger | None = None,
) -> dict[str, BackboneTraining]:
    """Train both streams and write `models/backbones/` and `reports/backbones/history.csv`.

    Args:
        tracks: all of the corpus; those of train and val are used.
        params: sections common, geometry, audio and backbones.
        work: folder of the checkpoints, from which a broken training goes on; when both streams are trained, those of
            other parameters or inputs are deleted.
    """
    tasks = [(stream, BackboneTask(root, tuple(tracks), params, work, stream, device)) for stream in reversed(STREAMS)]
    execution = params.execution
    # The streams do not depend on each other, so they train side by side; the longer one, visual, starts first.
    outcomes = run_tasks(
        train_backbone, tasks, executor=execution.executor, workers=execution.workers, label="backbones"
    )
    found = {outcome.key: outcome.value for outcome in outcomes if outcome.value is not None}
    trainings = {stream: found[stream] for stream in STREAMS}
    write_text(root / "reports" / "backbones" / "history.csv", history_csv(trainings))
    for stream, training in trainings.items():
        log_history(logger or NullLogger(), stream, training)
    current = {read_backbone_record(root / "models" / "backbones", stream).provenance["training"] for stream in STREAMS}
    for folder in work.iterdir() if work.is_dir() else ():
        if folder.is_dir() and folder.name not in current:
            shutil.rmtree(folder)
    return trainings


@dataclass(frozen=True)
class BackboneTask:
    """What a worker needs to train one stream."""

    root: Path
    tracks: tuple[Track, ...]
    params: Params
    work: Path
    stream: str
    device: str = "cpu"


def train_backbone(task: BackboneTask) -> BackboneTraining:
    """Train one stream from the stores and write its weights and record."""
    root, params, stream = task.root, task.params, task.stream
    settings = params.backbones.visual if stream == "visual" else params.backbones.audio
    precision = resolve_precision(params.backbones.amp, task.device)
    print(f"{stream} backbone: {settings.name}, amp {precision.name} ({precision.reason})", flush=True)
    digest = training_fingerprint(root, task.tracks, params, stream, precision.name, task.device)
    make_deterministic(params.common.threads)
    torch.manual_seed(params.backbones.seed)  # of the initial weights
    backbone = build_backbone(
        settings.name,
        stream=stream,
        width=settings.width,
        input_size=settings.input_size,
        output=params.backbones.output if stream == "visual" else "pooled",
        dropout=settings.dropout,
        weights=settings.weights,
    )
    training = BackboneTraining([], 0)
    if settings.epochs:
        prepare, train, val = training_data(root, task.tracks, params, stream)
        training = BackboneTrainer(
            backbone,
            prepare,
            train,
            val,
            settings,
            seed=params.backbones.seed,
            precision=precision,
            device=task.device,
            checkpoints=task.work / digest / stream,
            fingerprint=digest,
        ).fit()
    provenance = {
        "start": _start(settings.weights),
        "training": digest,
        "best_epoch": training.best_epoch,
        "params": settings.model_dump(mode="json"),
        "amp": precision.tags(),
        "threads": params.common.threads,
        "torch": torch.__version__,
    }
    metrics = training.history[training.best_epoch - 1] if training.best_epoch else {}
    save_backbone(root / "models" / "backbones", backbone, provenance=provenance, metrics=metrics)
    return training


def training_data(root: Path, tracks: Sequence[Track], params: Params, stream: str) -> tuple[Prepare, Clips, Clips]:
    """What lies between clips and the network of a stream, its training clips (every tick) and its validation clips."""
    geometry, offset = clip_geometry(params), params.geometry.target_offset
    splits = {"train": 1, "val": VALIDATION_STRIDE}
    if stream == "visual":
        picture = visual_transform(params.backbones.visual.name, params.backbones.visual.input_size)
        train, val = (
            VisualClips(
                labelled_tracks(root, tracks, split, stream=stream),
                geometry,
                picture,
                target_offset=offset,
                stride=stride,
            )
            for split, stride in splits.items()
        )
        return visual_preparation(picture), train, val
    sound = audio_transform(params, params.backbones.audio.input_size)
    heard, heard_val = (
        SoundClips(
            labelled_tracks(root, tracks, split, stream=stream), geometry, sound, target_offset=offset, stride=stride
        )
        for split, stride in splits.items()
    )
    return audio_preparation(sound), heard, heard_val


def log_history(logger: RunLogger, stream: str, training: BackboneTraining) -> None:
    """Record the epochs of a stream's training as metrics `<stream>_backbone/<name>`."""
    for row in training.history:
        metrics = {f"{stream}_backbone/{name}": value for name, value in row.items() if name != "epoch"}
        logger.log_metrics(metrics, step=int(row["epoch"]))


def training_fingerprint(
    root: Path, tracks: Sequence[Track], params: Params, stream: str, precision: str, device: str
) -> str:
    """Digest of everything that decides one stream's weights: inputs, parameters, code version, type of device."""
    settings = params.backbones.visual if stream == "visual" else params.backbones.audio
    inputs = {}
    for track in sorted(tracks, key=lambda track: track.track):
        if track.split in ("train", "val"):
            sound = root / "data" / "audio" / f"{track.video}.wav"
            frames = root / "data" / "frames" / f"{track.track}.parquet"
            labels = root / "data" / "labels" / f"{track.track}.parquet"
            inputs[track.track] = [
                track.split,
                frame_store.read_fingerprint(frames) if frames.is_file() else None,
                label_store.read_parquet_fingerprint(labels) if labels.is_file() else None,
                audio_store.read_fingerprint(sound) if stream == "audio" and sound.is_file() else None,
            ]
    return fingerprint(
        version=VERSION,
        inputs=inputs,
        stream=stream,
        params=settings.model_dump(mode="json"),
        start=_start(settings.weights),
        geometry=params.geometry.model_dump(
            mode="json", include={"clip_frames", "kept_frames", "fps", "target_offset"}
        ),
        audio=params.audio.model_dump(mode="json") if stream == "audio" else None,
        seed=params.backbones.seed,
        output=params.backbones.output,
        precision=precision,
        threads=params.common.threads,
        device=torch.device(device).type,
    )


def _start(weights: str) -> dict[str, str]:
    """Where training starts: `random`, torchvision's name, or a file and its digest."""
    return {"weights": weights} | ({"sha256": file_digest(weights)} if Path(weights).is_file() else {})


def history_csv(trainings: Mapping[str, BackboneTraining]) -> str:
    """CSV with one row per epoch and a column `<stream>_<metric>` per stream and metric, empty where it has ended."""
    streams = [stream for stream, training in trainings.items() if training.history]
    metrics = {stream: [name for name in trainings[stream].history[0] if name != "epoch"] for stream in streams}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["epoch", *(f"{stream}_{name}" for stream in streams for name in metrics[stream])])
    for epoch in range(max((len(trainings[stream].history) for stream in streams), default=0)):
        row: list[object] = [epoch + 1]
        for stream in streams:
            history = trainings[stream].history
            row += [f"{history[epoch][name]:.6g}" if epoch < len(history) else "" for name in metrics[stream]]
        writer.writerow(row)
    return text.getvalue()
