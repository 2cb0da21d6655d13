"""The study: created or found by name, checked against its beginning, and its progress."""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, check_distribution_compatibility
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from avfusion.experiments.settings import SweepSettings
from avfusion.experiments.sweep.space import SearchSpace
from avfusion.experiments.sweep.storage import PAPER, TryAgain
from avfusion.runtime.errors import BadInputError

IDENTITY, KEY, ERROR, INTERRUPTED = "identity", "key", "error", "interrupted"
PRUNING_TRIALS = 5
PRUNING_EPOCHS = 5
"""Least number of trials, and of epochs, before pruning: earlier medians say little."""

optuna.logging.set_verbosity(optuna.logging.ERROR)  # the progress lines are this package's own


class NumberedTPE(BaseSampler):
    """TPE that draws each trial from the study's seed and the trial's number.

    Workers on many machines share no random state: with a common seed they would draw the same points, and with seeds
    of their own an interrupted study could not continue as it would have.
    """

    def __init__(self, seed: int, startup_trials: int) -> None:
        self._seed, self._startup_trials = seed, startup_trials
        self._sampler = self._numbered(0)

    def _numbered(self, number: int) -> TPESampler:
        seed = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            # Grouped: parameters of some models only are drawn jointly with the other parameters of these models.
            return TPESampler(seed=seed, n_startup_trials=self._startup_trials, multivariate=True, group=True)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Seed the trial's own random numbers."""
        self._sampler = self._numbered(trial.number)
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Delegate to the TPE sampler."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Delegate to the TPE sampler."""
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Delegate to the TPE sampler."""
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Delegate to the TPE sampler."""
        self._sampler.after_trial(study, trial, state, values)


def pruner(kind: str, epochs: int) -> BasePruner:
    """The pruner of `sweep.pruner`; steps are epochs, from 1."""
    if kind == "median":
        return MedianPruner(n_startup_trials=PRUNING_TRIALS, n_warmup_steps=PRUNING_EPOCHS)
    if kind == "hyperband":
        return HyperbandPruner(min_resource=min(PRUNING_EPOCHS, epochs), max_resource=max(epochs, 1))
    return NopPruner()


def open_study(
    storage: RDBStorage, config: SweepSettings, space: SearchSpace, identity: Mapping[str, Any] | None = None
) -> optuna.Study:
    """Create or find the study `config.study`.

    Args:
        identity: facts that all of its trials share, by their names in messages; None: not checked.

    Raises:
        BadInputError: the study was begun with other facts, or with incompatible dimensions.
    """
    study = optuna.create_study(
        storage=storage,
        study_name=config.study,
        sampler=NumberedTPE(config.seed, config.startup_trials),
        pruner=pruner(config.pruner, space.fixed.epochs),
        direction="maximize",
        load_if_exists=True,
    )
    if identity is not None:
        _check_identity(study, json.loads(json.dumps(identity)))
        _check_dimensions(study, space)
    return study


def _check_identity(study: optuna.Study, identity: Mapping[str, Any]) -> None:
    begun = study.user_attrs.get(IDENTITY)
    if begun is None:
        study.set_user_attr(IDENTITY, identity)
        return
    changed = [
        f"{key} was {json.dumps(begun.get(key))}, is {json.dumps(identity.get(key))}"
        for key in sorted(begun.keys() | identity.keys())
        if begun.get(key) != identity.get(key)
    ]
    if changed:
        raise BadInputError(
            f"study {study.study_name} was begun with something else, and its scores cannot be compared "
            f"({'; '.join(changed)}): give sweep.study another name, or change it back"
        )


def _check_dimensions(study: optuna.Study, space: SearchSpace) -> None:
    used: dict[str, BaseDistribution] = {}
    for trial in study.get_trials(deepcopy=False):
        used |= trial.distributions
    for name, distribution in space.distributions().items():
        try:
            if name in used:
                check_distribution_compatibility(used[name], distribution)
        except ValueError:
            raise BadInputError(
                f"sweep.space.{name} is {_words(distribution)}, but study {study.study_name} has trials that drew it "
                f"from {_words(used[name])}: within a study, the ends of a range may change, but neither choices nor "
                "kinds; change it back, or give sweep.study another name"
            ) from None


def _words(distribution: BaseDistribution) -> str:
    values = distribution._asdict()
    if "choices" in values:
        return f"a choice of {', '.join(map(str, values['choices']))}"
    scale = ", logarithmic" if values["log"] else ""
    return f"{values['low']:g} to {values['high']:g}{scale}"


@dataclass(frozen=True)
class Standing:
    """Progress of a study.

    Attributes:
        finished: ended trials, except those that were (or will be) repeated.
        running: running trials, including those whose worker died unnoticed.
    """

    finished: int
    running: int


def standing(trials: Sequence[FrozenTrial]) -> Standing:
    """Count the trials of a study."""
    again = retried(trials)
    finished = sum(trial.state.is_finished() and trial.number not in again for trial in trials)
    return Standing(finished, sum(trial.state == TrialState.RUNNING for trial in trials))


def retried(trials: Sequence[FrozenTrial]) -> set[int]:
    """Numbers of the trials that were repeated."""
    return {number for trial in trials for number in retries(trial)}


def retries(trial: FrozenTrial) -> list[int]:
    """Numbers of the trials that this one repeats, the first one first."""
    return list(trial.system_attrs.get("retry_history", []))


def try_again(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queue an interrupted trial again."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        TryAgain()(study, trial)


def enqueue_paper(study: optuna.Study, space: SearchSpace) -> list[str]:
    """Queue the paper's point, once, unless it lies outside the space; return the parts outside."""
    point, outside = space.paper_point()
    known = any(trial.user_attrs.get(PAPER) for trial in study.get_trials(deepcopy=False))
    if not outside and not known:
        study.enqueue_trial(point, user_attrs={PAPER: True}, skip_if_exists=True)
    return outside


def fail_stale(study: optuna.Study) -> None:
    """Fail the trials of dead workers, and queue them again."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)
