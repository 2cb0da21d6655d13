"""Ask the MLflow store short questions, and wait for its answer only seconds.

MLflow itself asks a server seven times over minutes. That is right for a training that logs while its server restarts,
and wrong for a look-up that somebody waits for.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, TypeVar

from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.tracking.store import configure, is_answer, public_uri, reason_of, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

T = TypeVar("T")

ANSWER_S = 5.0
SILENCE_S = 15  # in the middle of a download, by a server that has just answered
RETRIES, TIMEOUT = "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


class StoreAwayError(AVFusionError):
    """The store does not answer, or not as an MLflow store."""


class NoModelError(BadInputError):
    """The store has no such model; or it cannot be asked (`away` says why), and neither has the cache."""

    away = ""


def ask(root: Path, question: Callable[["MlflowClient"], T]) -> T:
    """The answer of the project's store to a short question, within `ANSWER_S`, without retries.

    Raises:
        StoreAwayError: there is no answer in time, or none of an MLflow store.
        MlflowException: the store's own refusal: it has no such thing.
    """
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    uri = tracking_uri(root)
    if _is_database(uri):
        _within(uri, lambda: _look_into(uri))  # making the client takes seconds of work: nothing to be impatient with
    configured = configure(root)
    try:
        with no_retries():
            if _is_database(uri):
                return question(MlflowClient(configured))
            return _within(uri, lambda: question(MlflowClient(configured)))
    except MlflowException as error:
        if is_answer(error):
            raise
        raise _away(uri, reason_of(error)) from None
    except AVFusionError:
        raise
    except Exception as error:  # of the database, or of an answer that is none of MLflow's
        raise _away(uri, reason_of(error)) from None


def check_answers(root: Path) -> None:
    """Ask the store for a sign of life before long work, once in a process: later requests may wait for a restart.

    Raises:
        StoreAwayError: it gives none.
    """
    _check(tracking_uri(root), root)


@cache  # a failure is not kept
def _check(uri: str, root: Path) -> None:
    if not _is_database(uri):
        ask(root, lambda client: client.search_experiments(max_results=1))
    elif not uri.startswith("sqlite:"):  # a file that is missing will be made
        _within(uri, lambda: _look_into(uri))


@contextmanager
def no_retries() -> Iterator[None]:
    """Let MLflow ask a server once inside the block, and wait `SILENCE_S` at most for each piece of the answer.

    MLFLOW_HTTP_REQUEST_TIMEOUT, if set, stays.
    """
    before = {name: os.environ.get(name) for name in (RETRIES, TIMEOUT)}
    os.environ[RETRIES] = "0"
    os.environ.setdefault(TIMEOUT, str(SILENCE_S))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _within(uri: str, function: Callable[[], T]) -> T:
    """Call a function in a thread, which is left behind if it takes longer than `ANSWER_S`."""
    outcomes: SimpleQueue[tuple[T | None, Exception | None]] = SimpleQueue()

    def run() -> None:
        try:
            outcomes.put((function(), None))
        except Exception as error:
            outcomes.put((None, error))

    threading.Thread(target=run, name="MLflow question", daemon=True).start()
    try:
        value, error = outcomes.get(timeout=ANSWER_S)
    except Empty:
        raise _away(uri, f"no answer within {ANSWER_S:.0f} s") from None
    if error is not None:
        raise error
    return value  # type: ignore[return-value]


def _away(uri: str, why: str) -> StoreAwayError:
    return StoreAwayError(f"the MLflow store {public_uri(uri)} cannot be asked: {why}")


def _is_database(uri: str) -> bool:
    return uri.partition(":")[0].partition("+")[0] in _DATABASES


def _look_into(uri: str) -> None:
    """Read a row of the database as MLflow would, which retries for minutes."""
    from sqlalchemy import create_engine, inspect, text
    from sqlalchemy.pool import NullPool

    waiting = {"timeout": ANSWER_S - 1} if uri.startswith("sqlite:") else {}  # for a lock, whose reason it then says
    try:
        with create_engine(uri, poolclass=NullPool, connect_args=waiting).connect() as connection:
            if inspect(connection).has_table("experiments"):
                connection.execute(text("SELECT 1 FROM experiments")).first()
    except Exception as error:  # also of a driver that is not installed
        raise _away(uri, reason_of(error)) from None
