"""`avfusion vouch`: results of a refactored stage are recomputed in samples, and restamped where all of them are equal.

A stage is vouched for where its results can be listed: each with its stamp, the stamp that is wanted, a way to make it
anew beside what is kept, and a way to put another stamp in. `STAGES` has a function per stage that lists them.
"""

import hashlib
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from avfusion.backbones.feature_files import feature_store
from avfusion.backbones.weights import read_backbone_record, write_backbone_record
from avfusion.corpora.adapters import corpus_root
from avfusion.corpora.demo import render
from avfusion.corpora.settings import DEMO_ROOT
from avfusion.corpora.table import read_tracks
from avfusion.data import audio, features, frames, labels
from avfusion.data.audio_store import audio_store
from avfusion.data.frame_store import frame_store
from avfusion.data.label_store import label_store
from avfusion.experiments.backbones import backbone_stamp, backbone_tasks, retrain
from avfusion.experiments.differences import (
    audio_differences,
    disturbed_differences,
    feature_differences,
    frame_differences,
    label_differences,
    video_differences,
)
from avfusion.experiments.robustness import disturbed_files
from avfusion.experiments.robustness.stage import robustness_store
from avfusion.experiments.train_stage import training_grid
from avfusion.experiments.training import config_of, model_folder, model_names
from avfusion.params.params import Params
from avfusion.runtime.atomic import atomic_path, exclusive_lock
from avfusion.runtime.devices import default_device
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.runtime.stamps import Stamp
from avfusion.training.processes import Processes

SHOWN = 10  # results that differ


@dataclass(frozen=True)
class Kept:
    """A result that is kept, or should be.

    Attributes:
        wanted: the stamp (without content) that it should have.
        recompute: makes it anew in a folder; gives what differs, a line each.
        restamp: puts another stamp in, and changes nothing else.
    """

    name: str
    stamp: Stamp | None
    wanted: Stamp
    recompute: Callable[[Path], Sequence[str]]
    restamp: Callable[[Stamp], None]

    @property
    def is_doubtful(self) -> bool:
        """Other code made it from the inputs and parameters that are wanted."""
        return self.stamp is not None and self.stamp.made == self.wanted.made and self.stamp.code != self.wanted.code


@dataclass(frozen=True)
class Vouched:
    """What was done: names of the results that were recomputed, and how many were restamped."""

    recomputed: tuple[str, ...]
    restamped: int


def vouch(root: Path, params: Params, stage: str, sample: int) -> Vouched:
    """Recompute a sample of a stage's results whose code alone has changed; restamp all of them where it is equal.

    Args:
        sample: results to recompute of each kind: of each digest that they were made by and should have.

    Raises:
        BadInputError: an unknown stage; there is nothing to vouch for; nobody is known to git.
        AVFusionError: results differ, or cannot be made; nothing was restamped.
    """
    if stage not in STAGES:
        raise BadInputError(f"unknown stage {stage!r}: must be one of {', '.join(STAGES)}")
    with exclusive_lock(root / ".avfusion" / "locks" / f"{stage}.lock", f"stage {stage}"):
        results = STAGES[stage](root, params)
        due = [result for result in results if result.is_doubtful]
        if not due:
            raise BadInputError(f"{stage}: there is nothing to vouch for: {_state(results)}")
        by = git_identity(root)
        chosen = _sample(due, sample)
        _refuse_differences(stage, chosen)
        at = datetime.now(UTC).isoformat(timespec="seconds")
        for result in due:
            assert result.stamp is not None
            entry: dict[str, Any] = {"by": by, "at": at, "from": result.stamp.code, "to": result.wanted.code}
            entry |= {"recomputed": len(chosen), "of": len(due)}
            result.restamp(result.stamp.renewed(result.wanted, entry))
        return Vouched(tuple(result.name for result in chosen), len(due))


def git_identity(root: Path) -> str:
    """The name and address that git would put into a commit.

    Raises:
        BadInputError: git is not there, or knows neither.
    """
    known = []
    for key in ("user.name", "user.email"):
        try:
            command = ["git", "-C", str(root), "config", key]
            known.append(subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip())
        except (OSError, subprocess.SubprocessError):
            known.append("")
    name, address = known
    if not (name and address):
        raise BadInputError("git does not know who vouches: set `git config user.name` and `git config user.email`")
    return f"{name} <{address}>"


def _state(results: Sequence[Kept]) -> str:
    missing = sum(result.stamp is None for result in results)
    current = sum(result.stamp is not None and result.stamp.is_current(result.wanted) for result in results)
    others = len(results) - missing - current
    return f"{current} results are current, {others} were made from other inputs or parameters, {missing} have no stamp"


def _sample(due: Sequence[Kept], number: int) -> list[Kept]:
    """The same choice for the same results and code, another one after the next change of the code."""
    chosen: list[Kept] = []
    taken: Counter[tuple[str, str]] = Counter()
    order = {result.name: hashlib.sha256(f"{result.wanted.code}{result.name}".encode()).digest() for result in due}
    for result in sorted(due, key=lambda result: order[result.name]):
        assert result.stamp is not None
        kind = (result.stamp.code, result.wanted.code)
        taken[kind] += 1
        if taken[kind] <= number:
            chosen.append(result)
    return chosen


def _refuse_differences(stage: str, chosen: Sequence[Kept]) -> None:
    found: dict[str, Sequence[str]] = {}
    for number, result in enumerate(chosen, 1):
        print(f"{stage}: recomputing {result.name} ({number} of {len(chosen)})", flush=True)
        with tempfile.TemporaryDirectory(prefix="avfusion-vouch-") as folder:
            if differences := result.recompute(Path(folder)):
                found[result.name] = differences
    for name, differences in list(found.items())[:SHOWN]:
        for difference in differences:
            print(f"  {name}: {difference}")
    if len(found) > SHOWN:
        print(f"  … and {len(found) - SHOWN} more")
    if found:
        raise AVFusionError(
            f"{stage}: {len(found)} of {len(chosen)} recomputed results differ from those that are kept: nothing was "
            f"restamped, and `dvc repro {stage}` makes all of them anew"
        )


def _of_store(
    store: Any, differences: Callable[[Path, Path], Sequence[str]], restamp: Callable[[Path, Path, Stamp], None]
) -> list[Kept]:
    """The results of an `avfusion.data.store.Store`."""

    def recompute(key: str, content: str, folder: Path) -> Sequence[str]:
        new = folder / store.path(key).name
        store.make(store.payloads[key], new, store.wanted[key])
        stamp = store.read_stamp(new)
        if stamp is not None and stamp.content == content:
            return []
        return differences(store.path(key), new) or ["the bytes differ"]

    def put(key: str, stamp: Stamp) -> None:
        with atomic_path(store.path(key)) as temporary:
            restamp(store.path(key), temporary, stamp)

    stamps = {key: store.stamp(key) for key in store.wanted}
    return [
        Kept(key, stamp, store.wanted[key], partial(recompute, key, stamp.content if stamp else ""), partial(put, key))
        for key, stamp in stamps.items()
    ]


def _tracks(root: Path) -> list[Any]:
    return read_tracks(root / "data" / "corpus" / "tracks.parquet")


def _rendered(root: Path, params: Params) -> list[Kept]:
    if params.corpus.name != "demo":
        return []

    def kept(task: Any) -> Kept:
        marker = render.marker_path(task.root, task.video)
        try:
            stamp = render.read_stamp(marker)
        except (OSError, ValueError, KeyError, TypeError):
            return Kept(task.video.video, None, task.wanted, lambda folder: [], lambda stamp: None)
        return Kept(
            task.video.video,
            stamp,
            task.wanted,
            partial(video_differences, task, stamp.content),
            partial(render.restamp, marker),
        )

    return [kept(task) for task in render.video_tasks(root / DEMO_ROOT, params.render)]


def _labels(root: Path, params: Params) -> list[Kept]:
    store = label_store(root / "data" / "labels", corpus_root(root, params.corpus), _tracks(root), params.corpus.lags_s)
    return _of_store(store, label_differences, labels.restamp)


def _frames(root: Path, params: Params) -> list[Kept]:
    """Without the contact sheets, which are drawn faster than compared."""
    store = frame_store(root / "data" / "frames", corpus_root(root, params.corpus), _tracks(root), params.frames)
    return _of_store(store, frame_differences, frames.restamp)


def _audio(root: Path, params: Params) -> list[Kept]:
    store = audio_store(root / "data" / "audio", corpus_root(root, params.corpus), _tracks(root), params.audio)
    return _of_store(store, audio_differences, audio.restamp)


def _backbones(root: Path, params: Params) -> list[Kept]:
    def kept(task: Any) -> Kept:
        record = read_backbone_record(task.folder, task.stream)

        def recompute(folder: Path) -> list[str]:
            return [] if retrain(task) == record.identity.sha256 else ["the weights differ"]

        def restamp(stamp: Stamp) -> None:
            write_backbone_record(task.folder, replace(record, stamp=stamp))

        return Kept(task.name, record.stamp, backbone_stamp(task), recompute, restamp)

    processes, work = Processes(device=default_device()), root / ".avfusion" / "backbones"
    return [kept(task) for task in backbone_tasks(root, _tracks(root), params, work, processes)]


def _features(root: Path, params: Params) -> list[Kept]:
    store, _ = feature_store(root, _tracks(root), params, device=default_device())
    return _of_store(store, feature_differences, features.restamp)


def _trained(root: Path, params: Params) -> list[Kept]:
    grid = training_grid(root, params, default_device())

    def kept(name: str) -> Kept:
        out, unit = model_folder(root, name, params.train), grid.unit(config_of(params.train, name))
        stamp = grid.store.stamp(out)

        def recompute(folder: Path) -> list[str]:
            again = Stamp.from_dict(replace(grid, root=folder).train(unit).record["stamp"])
            return [] if stamp and again.content == stamp.content else ["the weights differ"]

        return Kept(name, stamp, unit.stamp, recompute, partial(grid.store.restamp, out))

    return [kept(name) for name in model_names(params.train)]


def _robustness(root: Path, params: Params) -> list[Kept]:
    """The disturbed features; scores are computed faster than compared."""
    return _of_store(
        robustness_store(root, params, device=default_device()), disturbed_differences, disturbed_files.restamp
    )


STAGES: Mapping[str, Callable[[Path, Params], list[Kept]]] = {
    "render": _rendered,
    "labels": _labels,
    "frames": _frames,
    "audio": _audio,
    "backbones": _backbones,
    "features": _features,
    "train": _trained,
    "robustness": _robustness,
}
