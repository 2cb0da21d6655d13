"""Where a study is kept: a SQLite file of the project, or a database that many machines share."""

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

MAX_RETRIES = 2
GRACE_BEATS = 3
PATIENCE_S = 600.0
"""How long a storage that was there before may be away (its server is restarted) before a worker gives up."""
PAUSE_S = 1.0
POSTGRES_DRIVER = "postgresql+psycopg2"
LOCK_S = 60.0
"""How long a process waits for another one's write to a SQLite file."""
ATTEMPTS = 5
"""How often a request to the storage is made: one that a restarted server broke off succeeds when made again."""
STORAGE_ERRORS = (SQLAlchemyError, StorageInternalError)
PAPER = "paper"
"""What the paper's point has among its trial's user attributes."""


def default_storage(root: Path) -> str:
    """URL of the project's own storage, beside MLflow's."""
    return f"sqlite:///{root.resolve() / 'mlruns' / 'optuna.db'}"


def public_url(url: str) -> str:
    """The URL without its password, for logs.

    Raises:
        BadInputError: it is no database URL.
    """
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        raise BadInputError(
            "the storage is no database URL: must be sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE"
        ) from None


def _again(request: Callable[..., Any]) -> Callable[..., Any]:
    """The request, made again by a worker where it was broken off; one that was carried out changes nothing then."""

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
    """A storage whose faults trials outlive, and which loses sight of none.

    Attributes:
        stop: of a worker, who waits for a storage that is away until this is set; None: nobody waits.
    """

    stop: threading.Event | None = None

    get_trial = _again(RDBStorage.get_trial)
    _get_trials = _again(RDBStorage._get_trials)  # what Optuna's cache in front of a storage asks for
    _set_trial_param = _again(RDBStorage._set_trial_param)
    set_trial_user_attr = _again(RDBStorage.set_trial_user_attr)
    set_trial_intermediate_value = _again(RDBStorage.set_trial_intermediate_value)
    set_trial_state_values = _again(RDBStorage.set_trial_state_values)

    def record_heartbeat(self, trial_id: int) -> None:
        """A sign of life; one that is lost must not end the thread that gives them."""
        with suppress(*STORAGE_ERRORS):
            super().record_heartbeat(trial_id)

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        """Trials whose workers died; one that died before its first sign of life is given that, and waited for."""
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
    """Queues a trial's parameters anew, without what the trial came to."""

    def __call__(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Queue it, but for a trial that was tried too often."""
        trial.user_attrs = {key: value for key, value in trial.user_attrs.items() if key == PAPER}
        super().__call__(study, trial)


def open_storage(url: str, heartbeat: int, stop: threading.Event | None = None) -> RDBStorage:
    """Open a storage whose trials give a sign of life every `heartbeat` seconds, and are tried again when it fails.

    Args:
        stop: as `PatientStorage` has it.

    Raises:
        BadInputError: no database URL, or one whose driver is not installed.
        AVFusionError: it cannot be reached, or holds something else.
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
            hint = ", it is the extra [postgres]" if parsed.get_backend_name() == "postgresql" else ""
            raise BadInputError(f"storage {name}: the driver of that database is not installed{hint}") from None
    if stop is not None:
        storage.stop = stop
        event.listen(storage.engine, "do_connect", functools.partial(_connect_patiently, stop))
    return storage


def _made_once(make: Callable[[], PatientStorage]) -> PatientStorage:
    """The storage, its tables made by whoever is first where several machines find an empty database at once."""
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
    """Turn what a storage raises inside the block into an AVFusionError of one line.

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
    """The database's own words, which the libraries above it wrap several times."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__


def _connect_patiently(stop: threading.Event, dialect: Any, record: Any, arguments: Any, options: Any) -> Any:
    """Connect again and again: a server that is restarted must not cost the study its workers."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return dialect.connect(*arguments, **options)
        except dialect.loaded_dbapi.OperationalError:
            if time.monotonic() > until or stop.wait(PAUSE_S):
                raise
