"""The backbones stage: both streams, from the stores to weights files and history; each training is kept by its stamp.

A finished training lies in `models/backbones/`. One that is replaced is kept in the stage's private folder, so that
going back to earlier parameters, inputs or code trains nothing again.
"""

import csv
import hashlib
import io
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from avfusion.backbones.catalogue import backbone_module
from avfusion.backbones.feature_files import audio_transform, clip_geometry
from avfusion.backbones.folds import HELD_OUT, STREAMS, fold_folder, split_groups, without_groups
from avfusion.backbones.pretrained import start_backbone, weights_digest, weights_start
from avfusion.backbones.registry import visual_transform
from avfusion.backbones.settings import BackboneSettings
from avfusion.backbones.weights import BackboneRecord, read_backbone_record, save_backbone, write_backbone_record
from avfusion.corpora.table import Track
from avfusion.data import audio as audio_store
from avfusion.data import frames as frame_store
from avfusion.data import labels as label_store
from avfusion.data.feature_spec import AudioTransform, VisualTransform
from avfusion.data.labelled_tracks import TrackFiles, track_files
from avfusion.experiments.stopping import few_groups_warning, in_place_of_validation, used_stopping
from avfusion.params.params import Params
from avfusion.runtime.atomic import atomic_path, write_text
from avfusion.runtime.errors import AVFusionError
from avfusion.runtime.execution import run_tasks
from avfusion.runtime.fingerprints import file_digest, fingerprint
from avfusion.runtime.stamps import Stamp, content_of
from avfusion.runtime.units import unit_digest
from avfusion.training.audio_backbone import audio_data
from avfusion.training.backbones import HISTORY_COLUMNS, BackboneTraining, TrainingData
from avfusion.training.precision import Precision, resolve_precision
from avfusion.training.processes import Processes
from avfusion.training.train_backbone import train_backbone
from avfusion.training.visual_backbone import visual_data

KEPT = 4  # trainings in the private folder for each backbone that is wanted, the newest


@dataclass(frozen=True)
class BackboneTask:
    """One backbone: what a worker needs to train it.

    Attributes:
        tracks: without those that the fold holds out.
        fold: from 1; 0: the training on all training tracks.
        held_out: groups of the fold.
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

    @property
    def folder(self) -> Path:
        """Where the result belongs."""
        return fold_folder(self.root / "models" / "backbones", self.fold)

    @property
    def settings(self) -> BackboneSettings:
        """Of the stream's backbone."""
        return self.params.backbones.visual if self.stream == "visual" else self.params.backbones.audio

    @property
    def precision(self) -> Precision:
        """Of the training, on the device of this process."""
        return resolve_precision(self.params.backbones.amp, self.processes.device)


def backbone_tasks(
    root: Path, tracks: Sequence[Track], params: Params, work: Path, processes: Processes | None = None
) -> list[BackboneTask]:
    """The backbones that the parameters ask for: both streams on all training tracks, and of each fold.

    With `train.stopping: inner` the tracks `val` of a task are those that are set aside from its training tracks.
    """
    folds = split_groups(tracks, params.backbones.folds) if params.backbones.folds else []
    inner = used_stopping(params.train.stopping, tracks) == "inner"

    def of_fold(groups: Sequence[str]) -> tuple[Track, ...]:
        left = without_groups(tracks, groups)
        return tuple(in_place_of_validation(left) if inner else left)

    return [
        BackboneTask(*(root, of_fold(groups), params, work, stream, fold, tuple(groups)), processes or Processes())
        for fold, groups in enumerate([[], *folds])
        for stream in reversed(STREAMS)  # the longer one, visual, starts first
    ]


def train_backbones(
    root: Path,
    tracks: Sequence[Track],
    params: Params,
    work: Path,
    *,
    processes: Processes | None = None,
) -> dict[str, BackboneTraining]:
    """Bring `models/backbones/` and `reports/backbones/history.csv` up to date; only what has changed is trained.

    Args:
        tracks: all of the corpus; those of train and val are used.
        params: sections common, geometry, audio, backbones and train, of which `stopping`.
        work: private folder, of checkpoints, from which a broken training goes on, and of results that were replaced.
        processes: that share each training, one after the other; alone, trainings run side by side.

    Returns:
        The trainings on all training tracks, by stream.
    """
    processes = processes or Processes()
    tasks = backbone_tasks(root, tracks, params, work, processes)
    stamps: dict[str, Stamp] = {}
    due: list[str] = []
    if processes.leads:
        stamps = {task.name: backbone_stamp(task) for task in tasks}
        due = [task.name for task in tasks if not _find(task, stamps[task.name])]
        if warning := few_groups_warning(params.train.stopping, tracks):
            print(f"warning: {warning}", flush=True)
    stamps, due = processes.from_leader((stamps, due))
    _train_all([(task, stamps[task.name]) for task in tasks if task.name in due], params, processes)
    if not processes.leads:
        return {}
    records = {task.name: read_backbone_record(task.folder, task.stream) for task in tasks}
    trainings = {stream: _training(records[stream]) for stream in STREAMS}
    write_text(root / "reports" / "backbones" / "history.csv", history_csv(trainings))
    _remove_others(tasks, stamps)
    return trainings


def backbone_stamp(task: BackboneTask) -> Stamp:
    """What decides the weights of a backbone: inputs, parameters and code, that of its network too."""
    network = backbone_module(task.stream, task.settings.name)
    return Stamp(_made(task), unit_digest(f"{task.stream}_backbone", network))


def retrain(task: BackboneTask) -> str:
    """SHA-256 of the weights that a training from the start gives; nothing that is kept is touched."""
    with tempfile.TemporaryDirectory() as folder:
        backbone, _ = _train(replace(task, work=Path(folder)), backbone_stamp(task))
        return save_backbone(folder, backbone).identity.sha256


def history_csv(trainings: Mapping[str, BackboneTraining]) -> str:
    """CSV with one row per epoch and a column `<stream>_<metric>` per stream and metric, empty where it has ended."""
    streams = [stream for stream, training in trainings.items() if training.history]
    columns = [(stream, name) for stream in streams for name in HISTORY_COLUMNS if name != "epoch"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["epoch", *(f"{stream}_{name}" for stream, name in columns)])
    for epoch in range(max((len(trainings[stream].history) for stream in streams), default=0)):
        row: list[object] = [epoch + 1]
        for stream, name in columns:
            history = trainings[stream].history
            row.append(f"{history[epoch][name]:.6g}" if epoch < len(history) else "")
        writer.writerow(row)
    return text.getvalue()


def _train_all(due: Sequence[tuple[BackboneTask, Stamp]], params: Params, processes: Processes) -> None:
    """Run the trainings, which do not depend on each other."""
    if processes.count > 1:
        for entry in due:
            _train_and_save(entry)
        return
    run_tasks(
        _train_and_save,
        [(task.name, (task, stamp)) for task, stamp in due],
        executor=params.execution.executor,
        workers=params.execution.workers,
        label="backbones",
    )


def _train_and_save(due: tuple[BackboneTask, Stamp]) -> None:
    """Train a backbone and put its weights and record in the place of what was there, which is kept."""
    task, stamp = due
    backbone, training = _train(task, stamp)
    if not task.processes.leads:
        return
    best = training.best_epoch
    provenance = {
        "start": weights_start(task.settings.weights, task.stream),
        "best_epoch": best,
        "params": task.settings.model_dump(mode="json") | _shared(task),
        "device": _device(task),
        "amp": task.precision.tags(),
        "threads": task.params.common.threads,
        "processes": training.processes,
    }
    if task.fold:
        provenance[HELD_OUT] = list(task.held_out)
    _keep(task.folder, task.stream, task.work)
    save_backbone(
        task.folder,
        backbone,
        provenance=provenance,
        metrics=training.history[best - 1] if best else {},
        history=training.history,
        wanted=stamp,
    )
    shutil.rmtree(_place(task.work, stamp), ignore_errors=True)


def _train(task: BackboneTask, stamp: Stamp) -> tuple[Any, BackboneTraining]:
    settings, backbones, processes = task.settings, task.params.backbones, task.processes
    precision = task.precision
    if processes.leads:
        print(f"{task.name}: {settings.name}, amp {precision.name} ({precision.reason})", flush=True)
    build = partial(
        start_backbone,
        settings.name,
        stream=task.stream,
        width=settings.width,
        input_size=settings.input_size,
        output=_output(task),
        dropout=settings.dropout,
        weights=settings.weights if processes.leads else None,  # the others get them from the first
    )
    return train_backbone(
        build,
        training_data(task.root, task.tracks, task.params, task.stream),
        settings,
        backbones,
        precision=precision,
        threads=task.params.common.threads,
        processes=processes,
        checkpoints=_place(task.work, stamp),
        fingerprint=fingerprint(training=_key(stamp), device=_device(task), precision=precision.name),
    )


def training_data(root: Path, tracks: Sequence[Track], params: Params, stream: str) -> Callable[[], TrainingData]:
    """What reads the clips of a stream and gives what lies between them and the network."""
    geometry, offset = clip_geometry(params), params.geometry.target_offset
    transform = _transform(params, stream)
    if isinstance(transform, VisualTransform):
        return partial(visual_data, root, tracks, geometry, transform, target_offset=offset, hue=params.backbones.hue)
    return partial(audio_data, root, tracks, geometry, transform, target_offset=offset)


def _transform(params: Params, stream: str) -> VisualTransform | AudioTransform:
    if stream == "visual":
        return visual_transform(params.backbones.visual.name, params.backbones.visual.input_size)
    return audio_transform(params, params.backbones.audio.input_size)


def _device(task: BackboneTask) -> str:
    """The kind of device: all GPUs of a machine are alike."""
    return task.processes.device.partition(":")[0]


def _output(task: BackboneTask) -> str:
    return task.params.backbones.output if task.stream == "visual" else "pooled"


def _shared(task: BackboneTask) -> dict[str, object]:
    """What both streams train by; the number of folds does not concern a training, the tracks of its fold do."""
    colours = {"hue"} if task.stream == "visual" else set()
    return task.params.backbones.model_dump(mode="json", include={"batch_norm", "augmentation"} | colours)


def _made(task: BackboneTask) -> str:
    """Fingerprint of everything but code that decides a backbone's weights."""
    params, stream = task.params, task.stream
    inputs = {
        track.track: [track.split, *_contents(track_files(task.root, track), stream)]
        for track in sorted(task.tracks, key=lambda track: track.track)
        if track.split in ("train", "val")
    }
    return fingerprint(
        inputs=inputs,
        stream=stream,
        params=task.settings.model_dump(mode="json"),
        shared=_shared(task),
        start=weights_digest(task.settings.weights, stream),
        geometry=clip_geometry(params).model_dump(mode="json"),
        target_offset=params.geometry.target_offset,
        transform=_transform(params, stream).model_dump(mode="json"),
        seed=params.backbones.seed,
        output=_output(task),
        amp=params.backbones.amp,
        threads=params.common.threads,
    )


def _contents(files: TrackFiles, stream: str) -> list[str | None]:
    """Digests of what a backbone reads of a track; None where there is no file."""
    labels = content_of(files.labels, label_store.read_stamp)
    if stream == "visual":
        return [labels, content_of(files.frames, frame_store.read_stamp)]
    sound = content_of(files.sound, audio_store.read_stamp)
    return [labels, _times_digest(files.frames) if files.frames.is_file() else None, sound]


def _times_digest(frames: Path) -> str:
    """Of the frames' times, all that the audio backbone takes from them: other crops leave it as it is."""
    return hashlib.sha256(frame_store.read_frame_times(frames).tobytes()).hexdigest()


def _key(stamp: Stamp) -> str:
    return fingerprint(made=stamp.made, code=stamp.code)


def _place(work: Path, stamp: Stamp) -> Path:
    """Folder of a training in the private folder: of its checkpoint, or of its result once it was replaced."""
    return work / _key(stamp)


def _find(task: BackboneTask, wanted: Stamp) -> bool:
    """Bring what is wanted to its place, if it is there or was kept; says so."""
    for folder in (task.folder, _place(task.work, wanted)):
        record = _current(folder, task.stream, wanted)
        if record is None:
            continue
        if folder != task.folder:
            _keep(task.folder, task.stream, task.work)
            _copy(folder, task.folder, task.stream)
        if record.provenance.get(HELD_OUT, []) != list(task.held_out):  # the same tracks, but other groups apart
            own = {key: value for key, value in record.provenance.items() if key != HELD_OUT}
            own |= {HELD_OUT: list(task.held_out)} if task.fold else {}
            write_backbone_record(task.folder, replace(record, provenance=own))
        print(f"{task.name}: trained already, {len(record.history)} epochs", flush=True)
        return True
    return False


def _current(folder: Path, stream: str, wanted: Stamp) -> BackboneRecord | None:
    """The record of a finished training with the wanted stamp, whose weights are whole; None where there is none."""
    record = _whole(folder, stream)
    return record if record is not None and record.stamp is not None and record.stamp.is_current(wanted) else None


def _whole(folder: Path, stream: str) -> BackboneRecord | None:
    """The record of whole weights; None where there are none, or, said, where they or it cannot be used."""
    weights = folder / f"{stream}.safetensors"
    if not weights.with_suffix(".json").is_file():
        return None
    try:
        record = read_backbone_record(folder, stream)
        _training(record)
    except AVFusionError as error:
        print(f"warning: {error}: trained anew", flush=True)
        return None
    if not weights.is_file() or file_digest(weights) != record.identity.sha256:
        print(f"warning: {weights} is not what {stream}.json describes: trained anew", flush=True)
        return None
    return record


def _training(record: BackboneRecord) -> BackboneTraining:
    """How a training went, from its record.

    Raises:
        AVFusionError: the record does not tell.
    """
    try:
        history = [{name: float(row[name]) for name in HISTORY_COLUMNS} for row in record.history]
        return BackboneTraining(history, int(record.provenance["best_epoch"]), int(record.provenance["processes"]))
    except (KeyError, TypeError, ValueError) as error:
        raise AVFusionError(
            f"the record of the {record.stream} backbone does not tell its training ({type(error).__name__}: {error})"
        ) from None


def _keep(folder: Path, stream: str, work: Path) -> None:
    """Copy a finished training into the private folder, before another one takes its place."""
    try:
        record = read_backbone_record(folder, stream)
    except AVFusionError:
        return
    if record.stamp is not None and (folder / f"{stream}.safetensors").is_file():
        _copy(folder, _place(work, record.stamp), stream)


def _copy(source: Path, target: Path, stream: str) -> None:
    for name in (f"{stream}.safetensors", f"{stream}.json"):  # the record last: it says that the weights are there
        with atomic_path(target / name) as temporary:
            shutil.copyfile(source / name, temporary)


def _remove_others(tasks: Sequence[BackboneTask], stamps: Mapping[str, Stamp]) -> None:
    """Leave in `models/backbones` what is wanted, and in the private folder the newest of the others."""
    work, backbones = tasks[0].work, tasks[0].folder
    wanted = {task.folder / f"{task.stream}.{suffix}" for task in tasks for suffix in ("safetensors", "json")}
    wanted |= {task.folder for task in tasks}
    others = [path for path in sorted(backbones.rglob("*"), reverse=True) if path not in wanted]
    for path in others:
        if path.suffix == ".json" and path.stem in STREAMS:
            _keep(path.parent, path.stem, work)
    for path in others:  # files before the folders that they lie in
        path.rmdir() if path.is_dir() else path.unlink()
    current = {_place(work, stamp) for stamp in stamps.values()}
    folders = [path for path in (work.iterdir() if work.is_dir() else ()) if path.is_dir() and path not in current]
    for folder in sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True)[KEPT * len(tasks) :]:
        shutil.rmtree(folder)
