"""Keep trainings of fusion models, finished and unfinished, each by a stamp of its inputs, parameters and code.

A folder per training below `.avfusion/train/` holds the checkpoint while the training runs, and the model with its
record afterwards. The stage `train` writes the same files to models/fusion and models/baselines/<name>, so that a fresh
clone that pulled them has these trainings, too.
"""

import json
import math
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from avfusion.experiments.folds import Fold
from avfusion.fusion.base import FusionModel
from avfusion.fusion.files import CONFIG, WEIGHTS, load_fusion, save_fusion
from avfusion.runtime.atomic import atomic_folder, atomic_path, write_json
from avfusion.runtime.fingerprints import file_digest, fingerprint
from avfusion.runtime.stamps import Stamp
from avfusion.training.checkpoints import CHECKPOINT
from avfusion.training.loop import TrainedFusion, history_row
from avfusion.training.settings import TrainSettings
from avfusion.training.start import Start

RECORD, LOCK, SECONDS, SCORED = "training.json", "lock", "seconds_per_epoch", "scored"
LIMIT_BYTES = 2 << 30
Scores = Mapping[str, Mapping[str, float | None]]


@dataclass(frozen=True)
class TrainingUnit:
    """The training of one fusion model with one seed on given tracks.

    Attributes:
        config: section `train` for this model alone.
        fold: the tracks to train on, and the tracks for early stopping.
        stamp: fingerprint of everything that decides the result, and digest of the code.
    """

    config: TrainSettings
    fold: Fold
    stamp: Stamp
    start: Start | None = None

    @cached_property
    def digest(self) -> str:
        """Name of the training's folder."""
        return fingerprint(made=self.stamp.made, code=self.stamp.code)


@dataclass(frozen=True)
class FinishedTraining:
    """A finished training.

    Attributes:
        folder: folder of model.safetensors, config.json and the record.
        found: whether the training had been finished before this call.
    """

    folder: Path
    record: Mapping[str, Any]
    found: bool = True

    def model(self, device: str = "cpu") -> FusionModel:
        """The model with the weights of the best epoch, in eval mode."""
        return load_fusion(self.folder)[0].to(device)

    @property
    def best_epoch(self) -> int:
        """The best epoch, from 1; 0: untrained."""
        return int(self.record["best_epoch"])

    @property
    def seconds_per_epoch(self) -> float | None:
        """Wall time including validation; None if unknown."""
        return self.record.get(SECONDS)

    @property
    def history(self) -> list[dict[str, float]]:
        """A row per epoch (`history_row`); undefined scores are null in JSON."""
        rows = [history_row(row) for row in self.record["history"]]
        return [{key: math.nan if value is None else value for key, value in row.items()} for row in rows]


@dataclass
class TrainingStore:
    """The trainings of the project at `root`."""

    root: Path
    _told: set[Path] = field(default_factory=set)

    @property
    def work(self) -> Path:
        """The folder that holds a folder per training."""
        return self.root / ".avfusion" / "train"

    def folder(self, unit: TrainingUnit) -> Path:
        """The folder of a unit's training."""
        return self.work / unit.digest

    def find(self, unit: TrainingUnit) -> FinishedTraining | None:
        """The finished training of a unit: from this store, else from the outs of the stage `train`."""
        own = self.folder(unit)
        for folder in (own, *self._outs()):
            record = self._read(folder)
            if record is None or not Stamp.from_dict(record["stamp"]).is_current(unit.stamp):
                continue
            if folder != own:
                _copy(folder, own)
            (own / CHECKPOINT).unlink(missing_ok=True)
            os.utime(own)  # `trim` removes what was not used for the longest time
            return FinishedTraining(own, record)
        return None

    @contextmanager
    def alone(self, unit: TrainingUnit) -> Iterator[None]:
        """Lock out other processes from training the same unit; wait if one does."""
        self.folder(unit).mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder(unit) / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(f"{unit.config.model}: another process trains the same model: waiting for the result", flush=True)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def finish(self, unit: TrainingUnit, result: TrainedFusion, device: str) -> FinishedTraining:
        """Keep a result, and remove the checkpoint."""
        folder = self.folder(unit)
        save_fusion(folder, result.model, {})
        record = {
            "stamp": unit.stamp.completed(_content(folder)).to_dict(),
            "history": result.history,
            "best_epoch": result.best_epoch,
            "device": device,
            "precision": {"name": result.precision.name, "reason": result.precision.reason},
            SECONDS: result.seconds_per_epoch,
        }
        write_json(folder / RECORD, record)
        (folder / CHECKPOINT).unlink(missing_ok=True)
        return FinishedTraining(folder, record, found=False)

    def add_scores(self, finished: FinishedTraining, scores: Scores, scored: str | None = None) -> FinishedTraining:
        """Keep scores of the training's tracks, by split, in its record.

        Args:
            scored: digest of scored tracks that the training's stamp does not know.
        """
        record = {**finished.record, "scores": scores} | ({SCORED: scored} if scored else {})
        write_json(finished.folder / RECORD, record)
        return replace(finished, record=record)

    def publish(self, finished: FinishedTraining, out: Path, facts: Mapping[str, Any]) -> None:
        """Make `out`, a folder among the outs of the stage `train`, hold a training; keep what it held before.

        Equal trainings leave equal bytes, so the seconds per epoch stay out.

        Args:
            facts: what config.json says beside the model's own configuration.
        """
        record = {key: value for key, value in finished.record.items() if key != SECONDS}
        config = {**json.loads((finished.folder / CONFIG).read_text(encoding="utf-8")), **facts}
        if self._holds(out, record, config):
            return
        with atomic_folder(out, lambda _: self.keep(out)) as new:
            shutil.copyfile(finished.folder / WEIGHTS, new / WEIGHTS)
            write_json(new / CONFIG, config)
            write_json(new / RECORD, record)

    def keep(self, out: Path) -> None:
        """Keep the training in an out that is about to be replaced or removed."""
        if stamp := self.stamp(out):
            own = self.work / fingerprint(made=stamp.made, code=stamp.code)
            if not (own / RECORD).is_file():
                _copy(out, own)

    def stamp(self, out: Path) -> Stamp | None:
        """The stamp of the training in an out; None where there is none."""
        record = self._read(out)
        return Stamp.from_dict(record["stamp"]) if record else None

    def restamp(self, out: Path, stamp: Stamp) -> None:
        """Put another stamp into an out."""
        record = json.loads((out / RECORD).read_text(encoding="utf-8"))
        write_json(out / RECORD, record | {"stamp": stamp.to_dict()})

    def trim(self, kept: Collection[str]) -> None:
        """Remove trainings beyond 2 GB, those first that were not used for the longest time.

        Args:
            kept: digests of units that stay in any case.
        """
        folders: list[tuple[float, Path, int]] = []
        for path in self.work.iterdir():
            with suppress(FileNotFoundError):  # another process removed it meanwhile
                if path.is_dir() and not path.is_symlink():
                    folders.append((path.stat().st_mtime, path, _size(path)))
        size = 0
        for _, folder, own in sorted(folders, reverse=True):
            size += own
            if size > LIMIT_BYTES and folder.name not in kept:
                with suppress(Timeout, FileNotFoundError), FileLock(folder / LOCK, timeout=0):
                    shutil.rmtree(folder)

    def _outs(self) -> list[Path]:
        models = self.root / "models"
        return [models / "fusion", *sorted((models / "baselines").glob("*"))]

    def _read(self, folder: Path) -> dict[str, Any] | None:
        """The record of the training in a folder; None where there is none that can be trusted, which is said once."""
        path = folder / RECORD
        if not (folder / WEIGHTS).is_file():
            return None
        try:
            record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            stamp = Stamp.from_dict(record["stamp"])
            _ = FinishedTraining(folder, record).history, int(record["best_epoch"]), record["precision"]["reason"]
            _ = record["device"]
            fault = "" if stamp.content == _content(folder) else "the model beside it is another one"
        except FileNotFoundError:
            fault = "no such file"
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            fault = f"{type(error).__name__}: {error}"
        if not fault:
            return record
        if path not in self._told:
            self._told.add(path)
            print(f"{path.relative_to(self.root)} cannot be used ({fault}): it is written anew", flush=True)
        return None

    def _holds(self, out: Path, record: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
        """Whether an out has a training already, with this config.json."""
        there = self._read(out)
        if there is None or there["stamp"] != record["stamp"] or there.get("scores") != record.get("scores"):
            return False
        return bool(json.loads((out / CONFIG).read_text(encoding="utf-8")) == json.loads(json.dumps(config)))


def _size(folder: Path) -> int:
    """Bytes of a folder's files, without those that another process is replacing."""
    size = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            size += path.stat().st_size if path.is_file() else 0
    return size


def _content(folder: Path) -> str:
    """Digest of what a training gives: the model's configuration and weights."""
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["fusion"]
    return fingerprint(fusion=config, weights=file_digest(folder / WEIGHTS))


def _copy(folder: Path, own: Path) -> None:
    """Take a training over from an out; the record comes last, since it makes the training a finished one."""
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    own.mkdir(parents=True, exist_ok=True)
    with atomic_path(own / WEIGHTS) as temporary:
        shutil.copyfile(folder / WEIGHTS, temporary)
    write_json(own / CONFIG, {"fusion": config["fusion"]})
    with atomic_path(own / RECORD) as temporary:
        shutil.copyfile(folder / RECORD, temporary)
