"""A worker: runs trials of a study, one after the other, until the study has enough."""

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import optuna
import torch
from optuna.trial import FrozenTrial, TrialState

from avfusion.experiments.sweep.objective import Objective
from avfusion.experiments.sweep.space import SearchSpace
from avfusion.experiments.sweep.storage import open_storage, public_url, storage_errors
from avfusion.experiments.sweep.study import INTERRUPTED, KEY, fail_stale, open_study, standing, try_again
from avfusion.experiments.training import read_inputs
from avfusion.fusion.reading import Reading
from avfusion.params.params import Params
from avfusion.runtime.devices import default_device
from avfusion.runtime.errors import AVFusionError
from avfusion.training.determinism import make_deterministic
from avfusion.training.sequences import SequenceData
from avfusion.training.settings import TrainSettings

WAIT_S = 1.0
MAX_FAULTS = 5
"""Number of consecutive faults of the storage, each after its patience, after which a worker gives up."""


@dataclass(frozen=True)
class WorkerTask:
    """Inputs of a worker.

    Attributes:
        root: the workspace with the features.
        params: sections geometry, train and sweep.
        url: URL of the storage, with its password.
        trials: required number of finished trials of the study.
        key: key of the study.
        index: number of the worker on this machine.
    """

    root: Path
    params: Params
    url: str = field(repr=False)
    trials: int
    key: str
    index: int = 0


def run_trials(task: WorkerTask, report: Callable[..., None]) -> None:
    """Run trials until the study has enough, in one thread; SIGTERM ends it after the current epoch.

    Args:
        report: called once with this process's id, when it can be stopped.

    Raises:
        AVFusionError: features or storage cannot be used.
    """
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    report(os.getpid())
    make_deterministic(threads=1)
    device = _device(task.index)
    inputs = read_inputs(task.root, task.params.geometry, stopping=task.params.train.stopping)
    space = SearchSpace.of(task.params.sweep.space, task.params.train)
    tables: dict[Reading, SequenceData] = {}

    def data(config: TrainSettings) -> SequenceData:
        reading = inputs.reading(config, task.params.geometry)
        if reading not in tables:
            tables[reading] = inputs.sequences(task.params.geometry, device, config)
        return tables[reading]

    objective = Objective(
        space,
        data,
        inputs.stopping,
        task.params.geometry,
        inputs.feature_spec.stride,
        device=device,
        stopping=stop.is_set,
    )
    with storage_errors(public_url(task.url)):
        study = open_study(open_storage(task.url, task.params.sweep.heartbeat, stop), task.params.sweep, space)
        if study.user_attrs.get(KEY) != task.key:
            raise AVFusionError(
                f"storage {public_url(task.url)} was replaced: study {study.study_name} is another one now"
            )
        work(study, objective, task.trials, stop)


def work(study: optuna.Study, objective: Callable[[optuna.Trial], float], trials: int, stop: threading.Event) -> None:
    """Run trials of a study until `trials` are finished, or `stop` is set.

    A failed trial stays failed; an interrupted trial is queued again. While other workers run the last trials this one
    waits, to repeat them if those workers die.
    """
    faults = 0
    while not stop.is_set():
        try:
            now = standing(study.get_trials(deepcopy=False))
            if now.finished >= trials:
                return
            if now.finished + now.running >= trials:
                stop.wait(WAIT_S)
                fail_stale(study)
            else:
                study.optimize(objective, n_trials=1, catch=(Exception,), callbacks=[_requeue])
            faults = 0
        # Not errors of the objective: these come from the storage (in many kinds, through Optuna), or report a trial
        # that others declared dead and failed while it ran here.
        except Exception:
            faults += 1
            if faults > MAX_FAULTS:
                raise
            stop.wait(WAIT_S)


def _requeue(study: optuna.Study, trial: FrozenTrial) -> None:
    if trial.state == TrialState.FAIL and INTERRUPTED in trial.user_attrs:
        try_again(study, trial)


def _device(index: int) -> str:
    """The worker's device: GPUs are dealt out in turn."""
    device = default_device()
    return f"cuda:{index % torch.cuda.device_count()}" if device == "cuda" else device
