"""MLflow's store of runs and files: in the project, or at MLFLOW_TRACKING_URI."""

import logging
import os
import re
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
REASON_LENGTH = 200
_STATUS = re.compile(r"failed with error code (\d{3}) != 200|^too many (\d{3}) error responses")
_CREDENTIALS = ": set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
_ADVICE = {401: _CREDENTIALS, 403: _CREDENTIALS, 404: ": is it an MLflow server?"}


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
        raise AVFusionError(f"the MLflow store cannot be used: {reason_of(error)}") from error


def reason_of(error: BaseException) -> str:
    """Why a request failed, in one line: what the system or the database said, which other libraries wrap."""
    from sqlalchemy.exc import DBAPIError
    from urllib3.exceptions import HTTPError

    found, cause = "", error.__cause__ or error.__context__
    chain = [error]
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    for link in chain:
        if isinstance(link, DBAPIError):
            found = str(link.orig)
            break
        if isinstance(link, OSError) and link.strerror:
            found = link.strerror
        elif isinstance(link, HTTPError) and link.args and not isinstance(getattr(link, "reason", None), Exception):
            found = str(link.args[-1])
    if status := _STATUS.search(found or str(error)):
        code = int(status[1] or status[2])
        return f"it answers with HTTP {code}{_ADVICE.get(code, '')}"
    lines = (line.strip() for line in (found or str(error)).splitlines())
    told = [line for line in lines if line] or [type(error).__name__]
    line = told[-1] if told[0].endswith(":") else told[0]  # MLflow lists failed downloads below a heading
    return line if len(line) <= REASON_LENGTH else f"{line[:REASON_LENGTH]} …"


def is_missing(error: "MlflowException") -> bool:
    """Whether the store answered that something does not exist, as opposed to a failure of the store."""
    return bool(error.error_code == "RESOURCE_DOES_NOT_EXIST") and is_answer(error)


def is_answer(error: "MlflowException") -> bool:
    """Whether an error is the store's own answer, as opposed to a failed request or a page of another server."""
    from mlflow.exceptions import RestException

    answers = ("RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "INVALID_PARAMETER_VALUE", "BAD_REQUEST")
    others = ("API request to ", "Model registry functionality is unavailable")
    return error.error_code in answers and (
        isinstance(error, RestException) or not str(error).lstrip().startswith(others)
    )


def public_uri(uri: str) -> str:
    """A tracking URI without its password."""
    return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:***@", uri)


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
    if not _is_own(root) or not database.is_file():
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
    return _elsewhere(root, row[0])


def refuse_elsewhere(root: Path, artifacts: str) -> None:
    """Refuse to go on with a run whose files lie in another project: this one was copied or moved with its store.

    Args:
        artifacts: the run's URI of artifacts.

    Raises:
        AVFusionError: they lie outside the project; the message says what to do.
    """
    if _is_own(root) and (problem := _elsewhere(root, artifacts)):
        raise AVFusionError(problem)


def _is_own(root: Path) -> bool:
    """Whether the store is the project's file, by default or by name."""
    uri = tracking_uri(root)
    return uri.startswith("sqlite:///") and Path(uri.removeprefix("sqlite:///")).resolve() == database_path(root)


def _elsewhere(root: Path, uri: str) -> str | None:
    recorded, here = Path(unquote(urlparse(uri).path)), artifacts_path(root)
    if recorded.resolve().is_relative_to(here):
        return None
    begin = "move mlruns/mlflow.db and mlruns/artifacts away and run `avfusion register` to begin a new store"
    found = f"{database_path(root)} records its artifacts under {recorded}, but the project is at {root.resolve()}"
    theirs = next(
        (folder for folder in (recorded, *recorded.parents) if folder.parts[-2:] == here.parts[-2:]), recorded
    )
    if theirs.exists():  # a run without files has no folder of its own
        return f"{found}: it is a copy, and would write into the original: {begin}"
    return f"{found}: move the project back, or {begin}"
