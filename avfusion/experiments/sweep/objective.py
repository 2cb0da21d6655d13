"""The objective: one training on cached features, monitored per epoch."""

import socket
import time
from collections.abc import Callable, Mapping, Sequence

import optuna

from avfusion.data.settings import GeometrySettings
from avfusion.data.track_data import TrackData
from avfusion.experiments.sweep.space import SearchSpace
from avfusion.experiments.sweep.storage import STORAGE_ERRORS
from avfusion.experiments.sweep.study import ERROR, INTERRUPTED, PRUNING_EPOCHS
from avfusion.runtime.errors import AVFusionError, describe_exception
from avfusion.training.logger import NullLogger
from avfusion.training.loop import FusionTraining
from avfusion.training.sequences import SequenceData
from avfusion.training.settings import TrainSettings

HISTORY, HOST, BEST_EPOCH, CPU_S = "history", "host", "best_epoch", "cpu_s"


class InterruptedTrialError(AVFusionError):
    """A trial was interrupted through no fault of its own, and is to be repeated."""


class Objective:
    """Trains a trial's point and returns the best epoch's mean validation CCC.

    A trial's user attributes record every epoch's metrics, the best epoch, the host, the CPU-seconds of its training,
    and its error.

    Args:
        data: gives the training split with the sequences that a trial's model reads.
        stopping: called after every epoch; True interrupts the trial.
    """

    def __init__(
        self,
        space: SearchSpace,
        data: Callable[[TrainSettings], SequenceData],
        validation: Sequence[TrackData],
        geometry: GeometrySettings,
        stride: int,
        *,
        device: str = "cpu",
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.space, self.data, self.validation = space, data, validation
        self.geometry, self.stride, self.device = geometry, stride, device
        self.stopping = stopping

    def __call__(self, trial: optuna.Trial) -> float:
        """Train.

        Raises:
            TrialPruned: the pruner ended it.
            InterruptedTrialError: it was asked to stop, or the storage failed.
            AVFusionError: the training failed (NaN loss, …).
        """
        epochs = _Epochs(trial, self.stopping)
        try:
            trial.set_user_attr(HOST, socket.gethostname())
            config = self.space.train_config(self.space.suggest(trial))
            training = FusionTraining(
                config.model,
                self.data(config),
                self.validation,
                config,
                self.geometry,
                self.stride,
                options=config.options,
                device=self.device,
                quiet=True,
            )
            epochs.begin()
            trained = training.fit(epochs)
        except optuna.TrialPruned:
            epochs.record()
            raise
        except (InterruptedTrialError, *STORAGE_ERRORS) as error:
            reason = str(error) if isinstance(error, InterruptedTrialError) else describe_exception(error)
            trial.set_user_attr(INTERRUPTED, reason)
            raise InterruptedTrialError(reason) from error
        except Exception as error:
            trial.set_user_attr(ERROR, str(error) if isinstance(error, AVFusionError) else describe_exception(error))
            raise
        epochs.record()
        if trained.best_epoch == 0:
            trial.set_user_attr(ERROR, f"none of {len(trained.history)} epochs has a validation score")
            raise AVFusionError("no epoch has a validation score")
        trial.set_user_attr(BEST_EPOCH, trained.best_epoch)
        return trained.history[trained.best_epoch - 1]["val_ccc_mean"]


class _Epochs(NullLogger):
    """Reports every epoch to the study, and ends the training where the pruner or a stop says so."""

    def __init__(self, trial: optuna.Trial, stopping: Callable[[], bool]) -> None:
        self._trial, self._stopping = trial, stopping
        self._history: list[dict[str, float]] = []
        self._began = time.process_time()
        self._reporting = 0.0

    def begin(self) -> None:
        """What follows is training."""
        self._began = time.process_time()

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """After an epoch.

        Raises:
            TrialPruned: others were better at this epoch.
            InterruptedTrialError: a stop was asked for.
        """
        if step is None:
            return
        self._history.append({"epoch": step, **metrics})
        if self._stopping():
            raise InterruptedTrialError("stopped by the user")
        began = time.process_time()
        self._trial.report(metrics["val_ccc_mean"], step)
        pruned = step >= PRUNING_EPOCHS and self._trial.should_prune()  # asking reads the other trials
        self._reporting += time.process_time() - began
        if pruned:
            raise optuna.TrialPruned(f"at epoch {step}")

    def record(self) -> None:
        """Keep the epochs with the trial."""
        seconds = time.process_time() - self._began - self._reporting
        self._trial.set_user_attr(CPU_S, round(seconds, 3))
        self._trial.set_user_attr(HISTORY, self._history)
