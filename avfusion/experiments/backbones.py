"""The backbones stage: both streams, from the stores to weights files, history and provenance."""

import csv
import io
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from avfusion.backbones.feature_files import audio_transform, clip_geometry
from avfusion.backbones.folds import HELD_OUT, STREAMS, fold_folder, split_videos, without_videos
from avfusion.backbones.pretrained import weights_digest, weights_start
from avfusion.backbones.registry import Backbone, build_backbone, visual_transform
from avfusion.backbones.settings import BackboneSettings, BackbonesSettings
from avfusion.backbones.weights import read_backbone_record, save_backbone
from avfusion.corpora.table import Track
from avfusion.data import audio as audio_store
from avfusion.data import frames as frame_store
from avfusion.data import labels as label_store
from avfusion.data.clips import Clips, SoundClips, VisualClips
from avfusion.data.labelled_tracks import labelled_tracks
from avfusion.params.params import Params
from avfusion.runtime.atomic import write_text
from avfusion.runtime.execution import run_tasks
from avfusion.runtime.fingerprints import fingerprint
from avfusion.runtime.settings import ExecutionSettings
from avfusion.training.backbones import BackboneTrainer, BackboneTraining
from avfusion.training.batch_norm import batch_norms, synchronise_statistics
from avfusion.training.determinism import make_deterministic
from avfusion.training.precision import resolve_precision
from avfusion.training.preparation import Prepare, audio_preparation, visual_preparation
from avfusion.training.processes import Processes

VERSION = 1  # of the training code: raised when the same inputs would give other weights
VALIDATION_STRIDE = 8


def train_backbones(
    root: Path,
    tracks: Sequence[Track],
    params: Params,
    work: Path,
    *,
    processes: Processes | None = None,
) -> dict[str, BackboneTraining]:
    """Train both streams and write `models/backbones/` and `reports/backbones/history.csv`.

    Args:
        tracks: all of the corpus; those of train and val are used.
        params: sections common, geometry, audio and backbones.
        work: folder of the checkpoints, from which a broken training goes on; when all are trained, those of
            other parameters or inputs are deleted.
        processes: that share each training, one after the other; alone, trainings run side by side.

    Returns:
        The trainings on all training tracks, by stream.
    """
    processes = processes or Processes()
    folds = split_videos(tracks, params.backbones.folds) if params.backbones.folds else []
    tasks = [
        BackboneTask(root, tuple(without_videos(tracks, videos)), params, work, stream, fold, tuple(videos), processes)
        for fold, videos in enumerate([[], *folds])
        for stream in reversed(STREAMS)  # the longer one, visual, starts first
    ]
    trainings = _train_all(tasks, params.execution, processes)
    if processes.leads:
        write_text(root / "reports" / "backbones" / "history.csv", history_csv(trainings))
        _remove_others(root / "models" / "backbones", work, len(folds))
    return trainings


@dataclass(frozen=True)
class BackboneTask:
    """What a worker needs to train one stream.

    Attributes:
        tracks: without those that the fold holds out.
        fold: from 1; 0: the training on all training tracks.
        held_out: base videos of the fold.
        processes: that share the training.
    """

    root: Path
    tracks: tuple[Track, ...]
    params: Params
    work: Path
    stream: str
    fold: int = 0
    held_out: tuple[str, ...] = ()
    processes: Processes = field(default_factory=Processes)

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.stream}, fold {self.fold}" if self.fold else self.stream


def train_backbone(task: BackboneTask) -> BackboneTraining:
    """Train one stream from the stores and write its weights and record."""
    root, params, stream, processes = task.root, task.params, task.stream, task.processes
    settings = params.backbones.visual if stream == "visual" else params.backbones.audio
    precision = resolve_precision(params.backbones.amp, processes.device)
    digest = training_fingerprint(root, task.tracks, params, stream, precision.name, processes.device)
    make_deterministic(params.common.threads)
    torch.manual_seed(params.backbones.seed)  # of the initial weights
    backbone = build_backbone(
        settings.name,
        stream=stream,
        width=settings.width,
        input_size=settings.input_size,
        output=params.backbones.output if stream == "visual" else "pooled",
        dropout=settings.dropout,
        weights=settings.weights if processes.leads else None,  # the others get them from the first
    )
    if processes.leads:
        print(f"{task.name}: {settings.name}, amp {precision.name} ({precision.reason})", flush=True)
        _warn_of_statistics(backbone, params, settings)
    training = BackboneTraining([], 0)
    if settings.epochs:
        if params.backbones.batch_norm == "train":
            synchronise_statistics(backbone, processes)
        prepare, train, val = training_data(root, task.tracks, params, stream)
        training = BackboneTrainer(
            backbone,
            prepare,
            train,
            val,
            settings,
            seed=params.backbones.seed,
            batch_norm=params.backbones.batch_norm,
            augment=params.backbones.augmentation,
            precision=precision,
            processes=processes,
            checkpoints=task.work / digest / stream,
            fingerprint=digest,
        ).fit()
    if processes.leads:
        provenance = {
            "start": weights_start(settings.weights, stream),
            "training": digest,
            "best_epoch": training.best_epoch,
            "params": settings.model_dump(mode="json") | _shared(params.backbones, stream),
            "amp": precision.tags(),
            "threads": params.common.threads,
            "processes": training.processes,
            "torch": torch.__version__,
        }
        if task.fold:
            provenance[HELD_OUT] = list(task.held_out)
        metrics = training.history[training.best_epoch - 1] if training.best_epoch else {}
        folder = fold_folder(root / "models" / "backbones", task.fold)
        save_backbone(folder, backbone, provenance=provenance, metrics=metrics)
    return training


def _train_all(
    tasks: Sequence[BackboneTask], execution: ExecutionSettings, processes: Processes
) -> dict[str, BackboneTraining]:
    """Run the trainings, which do not depend on each other; those on all training tracks, by stream."""
    if processes.count > 1:
        found = {task.name: train_backbone(task) for task in tasks}
    else:
        outcomes = run_tasks(
            train_backbone,
            [(task.name, task) for task in tasks],
            executor=execution.executor,
            workers=execution.workers,
            label="backbones",
        )
        found = {outcome.key: outcome.value for outcome in outcomes if outcome.value is not None}
    return {stream: found[stream] for stream in STREAMS}


def _remove_others(backbones: Path, work: Path, folds: int) -> None:
    """Delete backbones of folds that there are no more, and checkpoints of other trainings than the present ones."""
    current = [fold_folder(backbones, fold) for fold in range(folds + 1)]
    for folder in backbones.glob("fold-*"):
        if folder not in current:
            shutil.rmtree(folder)
    digests = {read_backbone_record(folder, stream).provenance["training"] for folder in current for stream in STREAMS}
    for folder in work.iterdir() if work.is_dir() else ():
        if folder.is_dir() and folder.name not in digests:
            shutil.rmtree(folder)


def _warn_of_statistics(backbone: Backbone, params: Params, settings: BackboneSettings) -> None:
    if params.backbones.batch_norm == "frozen" and settings.weights == "random" and batch_norms(backbone):
        print(
            f"warning: {backbone.stream} backbone: backbones.batch_norm is frozen, but its weights are random, so its "
            "statistics are those of no data and it trains badly: set backbones.batch_norm to train",
            flush=True,
        )


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
        return visual_preparation(picture, hue=params.backbones.hue), train, val
    sound = audio_transform(params, params.backbones.audio.input_size)
    heard, heard_val = (
        SoundClips(
            labelled_tracks(root, tracks, split, stream=stream), geometry, sound, target_offset=offset, stride=stride
        )
        for split, stride in splits.items()
    )
    return audio_preparation(sound), heard, heard_val


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
        shared=_shared(params.backbones, stream),
        start=weights_digest(settings.weights, stream),
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


def _shared(backbones: BackbonesSettings, stream: str) -> dict[str, object]:
    """What both streams train by; the number of folds does not concern a training, the tracks of its fold do."""
    colours = {"hue"} if stream == "visual" else set()
    return backbones.model_dump(mode="json", include={"batch_norm", "augmentation"} | colours)


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
