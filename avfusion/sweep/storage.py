"""Where a study is kept: a SQLite file of the project, or a database that many machines share."""

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from avfusion.errors import AVFusionError, BadInputError

MAX_RETRIES = 2
GRACE_BEATS = 3
PATIENCE_S = 600.0
"""How long a storage that was there before may be away (its server is restarted) before a worker gives up."""
PAUSE_S = 1.0
POSTGRES_DRIVER = "postgresql+psycopg2"
LOCK_S = 60.0
"""How long a process waits for another one's write to a SQLite file."""


def default_storage(root: Path) -> str:
    """URL of the project's own storage, beside MLflow's."""
    return f"sqlite:///{root.resolve() / 'mlruns' / 'optuna.db'}"


def shown(url: str) -> str:
    """The URL without its password, for logs.

    Raises:
        BadInputError: it is no database URL.
    """
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        raise BadInputError(
            "the storage is no database URL: allowed are sqlite:///FILE and postgresql://USER:PASSWORD@HOST/DATABASE"
        ) from None


def open_storage(url: str, heartbeat: int) -> RDBStorage:
    """Open a storage whose trials give a sign of life every `heartbeat` seconds, and are tried again when it fails.

    Raises:
        BadInputError: no database URL, or one whose driver is not installed.
        AVFusionError: it cannot be reached, or holds something else.
    """
    name = shown(url)
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
            storage = RDBStorage(
                parsed.render_as_string(hide_password=False),
                engine_kwargs=options,
                heartbeat_interval=heartbeat,
                grace_period=GRACE_BEATS * heartbeat,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=MAX_RETRIES),
            )
        except ImportError:
            hint = ", it is the extra [postgres]" if parsed.get_backend_name() == "postgresql" else ""
            raise BadInputError(f"storage {name}: the driver of that database is not installed{hint}") from None
    event.listen(storage.engine, "do_connect", _connect_patiently)
    return storage


@contextmanager
def storage_errors(name: str) -> Iterator[None]:
    """Turn what a storage raises inside the block into an AVFusionError of one line.

    Args:
        name: the storage's URL as `shown`.
    """
    try:
        yield
    except (SQLAlchemyError, StorageInternalError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "optuna" not in str(error):
            raise
        raise AVFusionError(f"storage {name} cannot be used: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """The database's own words, which the libraries above it wrap several times."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__


def _connect_patiently(dialect: Any, record: Any, arguments: Any, options: Any) -> Any:
    """Connect again and again: a server that is restarted must not cost the study its workers."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return dialect.connect(*arguments, **options)
        except dialect.loaded_dbapi.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(PAUSE_S)
