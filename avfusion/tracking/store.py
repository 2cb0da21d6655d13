"""MLflow's store of runs and files: in the project, or at MLFLOW_TRACKING_URI."""

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

from avfusion.runtime.errors import AVFusionError
from avfusion.runtime.project import project_root

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

EXPERIMENT = "avfusion"


def database_path(root: Path) -> Path:
    """The SQLite file of the project's own store."""
    return root.resolve() / "mlruns" / "mlflow.db"


def artifacts_path(root: Path) -> Path:
    """The folder of the project's own artifacts."""
    return root.resolve() / "mlruns" / "artifacts"


def tracking_uri(root: Path) -> str:
    """`MLFLOW_TRACKING_URI` if set, else the project's own store, absolute."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{database_path(root)}"


def configure(root: Path | None = None) -> str:
    """Point this process's MLflow at the store of the project (default: the one around the working directory).

    Returns:
        The tracking URI, also used for the registry.
    """
    import mlflow

    logging.getLogger("mlflow.store.db.utils").addFilter(_is_no_error)
    root = project_root() if root is None else Path(root)
    uri = tracking_uri(root)
    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    given = {name: os.environ.get(name) for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")}
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    for name, value in given.items():
        if value is None:  # MLflow sets it, and it would later count as the user's choice
            os.environ.pop(name, None)
    return uri


def _is_no_error(record: logging.LogRecord) -> bool:
    """Filter out log records with tracebacks: MLflow also raises these errors, which `store_errors` reports."""
    return record.exc_info is None


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn MLflow's errors inside the block into AVFusionErrors of one line."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError) as error:
        raise AVFusionError(f"the MLflow store cannot be used: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """The database's own message, which other libraries wrap; else the first line of MLflow's."""
    from sqlalchemy.exc import DBAPIError

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, DBAPIError):
            return str(cause.orig)
        cause = cause.__cause__ or cause.__context__
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def is_missing(error: "MlflowException") -> bool:
    """Whether the store answered that something does not exist, as opposed to a failure of the store."""
    return bool(error.error_code == "RESOURCE_DOES_NOT_EXIST")


def ensure_experiment(client: "MlflowClient", root: Path, name: str = EXPERIMENT) -> str:
    """The id of experiment `name`, created if missing, with its artifacts in the project's folder.

    A tracking server chooses the place of artifacts itself.

    Raises:
        AVFusionError: the project was moved, and the store would write artifacts to its old place.
    """
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        served = client.tracking_uri.startswith(("http:", "https:"))
        try:
            return client.create_experiment(name, None if served else artifacts_path(root).as_uri())
        except MlflowException:  # another process was faster
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
    if problem := moved_store(root, name):
        raise AVFusionError(problem)
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)


def moved_store(root: Path, name: str = EXPERIMENT) -> str | None:
    """A message with a remedy if the project's own store was made at another path; else None.

    MLflow records absolute paths of artifacts. Reads the SQLite file directly, without importing mlflow.
    """
    database = database_path(root)
    if os.environ.get("MLFLOW_TRACKING_URI") or not database.is_file():
        return None
    try:
        connection = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)
        try:
            row = connection.execute("SELECT artifact_location FROM experiments WHERE name = ?", (name,)).fetchone()
        finally:
            connection.close()
    except sqlite3.Error:
        return None
    if row is None or not row[0]:
        return None
    recorded = Path(unquote(urlparse(row[0]).path))
    here = artifacts_path(root)
    if recorded.resolve() == here:
        return None
    return (
        f"{database} records its artifacts under {recorded}, but the project is at {root.resolve()}: move the project "
        "back, or move mlruns/mlflow.db and mlruns/artifacts away and run `avfusion register` to begin a new store"
    )
