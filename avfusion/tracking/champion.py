"""The versions of the registered model, and the champion chosen by hand."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from avfusion.runtime.errors import BadInputError
from avfusion.runtime.quantities import utc
from avfusion.tracking.answers import ask
from avfusion.tracking.registry import (
    CHALLENGER,
    CHAMPION,
    Registration,
    champion_version,
    read_version,
    write_record,
)
from avfusion.tracking.store import configure, is_missing, public_uri, store_errors, tracking_uri


@dataclass(frozen=True)
class Version:
    """A version of the registered model.

    Attributes:
        registration: its decision, scores and aliases.
        registered_s: when it was registered, seconds since 1970.
    """

    registration: Registration
    registered_s: float

    def facts(self) -> dict[str, Any]:
        """The version for `--json`."""
        numbers = {"version": int(self.registration.version), "aliases": list(self.registration.aliases)}
        return numbers | {"registered": utc(self.registered_s)} | self.registration.record()


def versions(root: Path, name: str) -> list[Version]:
    """All versions, the newest first, with the aliases that they have now; empty without any.

    Raises:
        BadInputError: the project's own store has not been made.
        StoreAwayError: the store does not answer within seconds.
    """
    _check_exists(root)

    def look(client: MlflowClient) -> list[Version]:
        held: dict[str, list[str]] = {}
        try:
            for alias, holder in client.get_registered_model(name).aliases.items():
                held.setdefault(str(holder), []).append(alias)
        except MlflowException as error:
            if is_missing(error):
                return []
            raise
        found = client.search_model_versions(f"name = '{name}'")
        return [
            Version(
                replace(read_version(each), aliases=tuple(sorted(held.get(str(each.version), [])))),
                each.creation_timestamp / 1000,
            )
            for each in sorted(found, key=lambda each: -int(each.version))
        ]

    return ask(root, look)


def promote(root: Path, name: str, version: int) -> Registration:
    """Make a version champion, whatever its scores; the decision is written into its tags and description.

    Raises:
        BadInputError: there is no such version.
    """
    with _registry(root) as client:
        before = champion_version(client, name)
        if before is not None and int(before.version) == version:
            return replace(read_version(before), aliases=(CHAMPION,))
        try:
            chosen = client.get_model_version(name, str(version))
        except MlflowException as error:
            if is_missing(error):
                raise BadInputError(f"{name} has no version {version}: `avfusion champion` lists them") from None
            raise
        place = "" if before is None else f", in place of version {before.version}"
        done = _by_hand(read_version(chosen), CHAMPION, f"promoted by hand on {utc(time.time())}{place}")
        write_record(client, name, done)
        client.set_registered_model_alias(name, CHAMPION, done.version)
        return replace(done, aliases=(CHAMPION,))


def demote(root: Path, name: str) -> Registration:
    """Take the alias from the champion, and leave the place empty.

    Raises:
        BadInputError: there is no champion.
    """
    with _registry(root) as client:
        before = champion_version(client, name)
        if before is None:
            raise BadInputError(f"{name} has no champion to demote: `avfusion champion` lists the versions")
        done = _by_hand(read_version(before), CHALLENGER, f"demoted by hand on {utc(time.time())}")
        write_record(client, name, done)
        client.delete_registered_model_alias(name, CHAMPION)
        return done


def aliases_now(root: Path, name: str) -> dict[str, str]:
    """The aliases of the registered model with their versions; empty without a model.

    Raises:
        BadInputError, StoreAwayError: as `versions`.
    """
    _check_exists(root)

    def look(client: MlflowClient) -> dict[str, str]:
        try:
            return {alias: str(holder) for alias, holder in client.get_registered_model(name).aliases.items()}
        except MlflowException as error:
            if is_missing(error):
                return {}
            raise

    return ask(root, look)


def _by_hand(registration: Registration, decision: str, how: str) -> Registration:
    """A decision of a person, which no registration of the same model reverses."""
    return replace(registration, decision=decision, reason=how, provisional="", comparison=None)


@contextmanager
def _registry(root: Path) -> Iterator[MlflowClient]:
    _check_exists(root)
    ask(root, lambda client: client.search_experiments(max_results=1))
    lock = root / "mlruns" / ".register.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock), store_errors():
        yield MlflowClient(configure(root))


def _check_exists(root: Path) -> None:
    uri = tracking_uri(root)
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
        raise BadInputError(f"{root} has no MLflow store at {public_uri(uri)}: run `dvc repro` or `avfusion register`")
