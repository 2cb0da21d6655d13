"""The storage of a study: a SQLite file of the project, or a database shared by many machines."""

import functools
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial
from sqlalchemy import event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError

from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.runtime.extras import require_extra

MAX_RETRIES = 2
GRACE_BEATS = 3
PATIENCE_S = 600.0
"""Seconds that a known storage may be away (during a restart of its server) before a worker gives up."""
PAUSE_S = 1.0
POSTGRES_DRIVER = "postgresql+psycopg2"
LOCK_S = 60.0
"""Seconds that a process waits for another's write to a SQLite file."""
ATTEMPTS = 5
"""Number of attempts of a request; a request cut off by a restarted server succeeds on repetition."""
STORAGE_ERRORS = (SQLAlchemyError, StorageInternalError)
PAPER = "paper"
"""User attribute that marks the trial of the paper's point."""


def default_storage(root: Path) -> str:
    """URL of the project's own storage, beside MLflow's."""
    return f"sqlite:///{root.resolve() / 'mlruns' / 'optuna.db'}"


def public_url(url: str) -> str:
    """The URL without its password, for logs.

    Raises:
        BadInputError: it is not a database URL.
    """
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        raise BadInputError(
            "the storage is no database URL: must be sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE"
        ) from None


def _again(request: Callable[..., Any]) -> Callable[..., Any]:
    """The request, repeated by a worker if it was cut off; repeating a completed request changes nothing."""

    @functools.wraps(request)
    def patient(storage: "PatientStorage", *arguments: Any, **options: Any) -> Any:
        for _ in range(ATTEMPTS - 1):
            try:
                return request(storage, *arguments, **options)
            except STORAGE_ERRORS:
                if storage.stop is None or storage.stop.wait(PAUSE_S):
                    raise
        return request(storage, *arguments, **options)

    return patient


class PatientStorage(RDBStorage):
    """A storage whose trials survive its faults, and which never loses a trial.

    Attributes:
        stop: ends a worker's wait for an absent storage; None: no waiting.
    """

    stop: threading.Event | None = None

    get_trial = _again(RDBStorage.get_trial)
    _get_trials = _again(RDBStorage._get_trials)  # what Optuna's cache in front of a storage asks for
    _set_trial_param = _again(RDBStorage._set_trial_param)
    set_trial_user_attr = _again(RDBStorage.set_trial_user_attr)
    set_trial_intermediate_value = _again(RDBStorage.set_trial_intermediate_value)
    set_trial_state_values = _again(RDBStorage.set_trial_state_values)

    def record_heartbeat(self, trial_id: int) -> None:
        """Record a heartbeat; a lost one must not end the thread of heartbeats."""
        with suppress(*STORAGE_ERRORS):
            super().record_heartbeat(trial_id)

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        """Trials whose workers died; a trial without any heartbeat gets one first, and is then waited for."""
        stale = super()._get_stale_trial_ids(study_id)
        with self.engine.connect() as connection:
            silent = connection.execute(
                text(
                    "SELECT trial_id FROM trials WHERE study_id = :study AND state = 'RUNNING' "
                    "AND trial_id NOT IN (SELECT trial_id FROM trial_heartbeats)"
                ),
                {"study": study_id},
            ).scalars()
            for trial_id in list(silent):
                self.record_heartbeat(trial_id)
        return stale


class TryAgain(RetryHeartbeatStaleTrialCallback):
    """Queues a trial's parameters again, without its results."""

    def __call__(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Queue the trial, unless it was tried too often."""
        trial.user_attrs = {key: value for key, value in trial.user_attrs.items() if key == PAPER}
        super().__call__(study, trial)


def open_storage(url: str, heartbeat: int, stop: threading.Event | None = None) -> RDBStorage:
    """Open a storage whose trials send a heartbeat every `heartbeat` seconds, and are repeated without it.

    Args:
        stop: as in `PatientStorage`.

    Raises:
        BadInputError: the URL is not a database URL, or its driver is not installed.
        AVFusionError: the storage cannot be reached, or holds something else.
    """
    name = public_url(url)
    parsed = make_url(url)
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername=POSTGRES_DRIVER)  # whatever SQLAlchemy's own choice is
    options: dict[str, Any] = {"pool_pre_ping": True}
    if parsed.get_backend_name() == "sqlite":
        options["connect_args"] = {"timeout": LOCK_S}
        if parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    elif parsed.get_backend_name() == "postgresql":
        options["connect_args"] = {"connect_timeout": 10}
    with storage_errors(name), warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # the heartbeat is what a study of many workers rests on
        try:
            storage = _made_once(
                lambda: PatientStorage(
                    parsed.render_as_string(hide_password=False),
                    engine_kwargs=options,
                    heartbeat_interval=heartbeat,
                    grace_period=GRACE_BEATS * heartbeat,
                    heartbeat_stale_trial_callback=TryAgain(max_retry=MAX_RETRIES),
                )
            )
        except ImportError:
            if parsed.get_backend_name() == "postgresql":
                require_extra("psycopg2")
            raise BadInputError(f"storage {name}: the driver of that database is not installed") from None
    if stop is not None:
        storage.stop = stop
        event.listen(storage.engine, "do_connect", functools.partial(_connect_patiently, stop))
    return storage


def _made_once(make: Callable[[], PatientStorage]) -> PatientStorage:
    """The storage; if several machines find an empty database at once, the first creates the tables."""
    for _ in range(ATTEMPTS - 1):
        try:
            return make()
        except SQLAlchemyError as error:
            if not isinstance(error, IntegrityError) and "already exists" not in str(error):
                raise
        time.sleep(PAUSE_S)
    return make()


@contextmanager
def storage_errors(name: str) -> Iterator[None]:
    """Turn a storage's errors inside the block into AVFusionErrors of one line.

    Args:
        name: the storage's URL as `public_url`.
    """
    try:
        yield
    except (*STORAGE_ERRORS, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "optuna" not in str(error):
            raise
        raise AVFusionError(f"storage {name} cannot be used: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """The database's own message, which other libraries wrap several times."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__


def _connect_patiently(stop: threading.Event, dialect: Any, record: Any, arguments: Any, options: Any) -> Any:
    """Retry connecting: a restart of the server must not cost the study its workers."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return dialect.connect(*arguments, **options)
        except dialect.loaded_dbapi.OperationalError:
            if time.monotonic() > until or stop.wait(PAUSE_S):
                raise
