"""Download models from the store as folders: only safetensors and config, never code.

A model is fetched once and cached by its digest. Model and run ids are unique, so their URIs are resolved from the
cache alone. Versions and aliases are resolved by the store; if it cannot be reached, versions used before are resolved
from the cache.
"""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.tracking.model_cache import ModelCache, answer_key, cache_folder, store_state
from avfusion.tracking.registry import CHAMPION, REGISTERED_MODEL, champion_version
from avfusion.tracking.store import configure, is_missing, store_errors, tracking_uri

SCHEMES = ("models:/", "runs:/")
FROM_CACHE = "from the cache: the MLflow store cannot be asked"
_MODEL_ID = "models:/m-"
_VERSION = re.compile(r"models:/(?P<name>[^/@]+)/(?P<version>\d+)")
_ALIAS = re.compile(r"models:/(?P<name>[^/@]+)@(?P<alias>.+)")


class _StoreAwayError(AVFusionError):
    """The store cannot be reached."""


@contextmanager
def downloaded_model(uri: str, root: Path) -> Iterator[tuple[Path, str]]:
    """Provide a folder with `fusion/` and `backbones/` of the model at `uri` (`models:/…`, `runs:/…/name`), and a note.

    The folder is in the cache, or temporary if the cache cannot be written.

    Raises:
        BadInputError: the store has no such model, or cannot be reached and the cache cannot resolve the URI.
    """
    uri = uri.rstrip("/")
    cache, store, state = ModelCache(cache_folder()), tracking_uri(root), store_state(root)
    try:
        unique, version = _resolve(uri, root)
    except _StoreAwayError as error:
        if (folder := cache.find(f"{store} {uri}")) is None:
            raise BadInputError(f"no model at {uri}: {error}") from None
        yield folder, FROM_CACHE
        return
    keys = [key for key in (unique, f"{store} {version}" if version else "") if key]
    if unique and (folder := cache.find(unique)) is not None:
        with suppress(OSError):
            cache.remember(folder.name, *keys)
            cache.remember(folder.name, answer_key(uri, root), state=state)
        yield folder, ""
        return
    with tempfile.TemporaryDirectory(prefix="avfusion-model-") as scratch:
        folder = _download(uri, root, scratch)
        with suppress(OSError):  # read-only home, full disk: go on without the cache
            folder = cache.add(folder, *keys)
            cache.remember(folder.name, answer_key(uri, root), state=state)
        yield folder, ""


def _resolve(uri: str, root: Path) -> tuple[str, str]:
    """A permanent URI of the model, and the URI of its version; empty without a version.

    Raises:
        BadInputError: the store has no such version or alias.
    """
    if uri.startswith(("runs:/", _MODEL_ID)):
        return uri, ""
    wanted = _VERSION.fullmatch(uri) or _ALIAS.fullmatch(uri)
    if not wanted:
        return "", ""
    client = MlflowClient(_reachable(root))
    ask = client.get_model_version if wanted.re is _VERSION else client.get_model_version_by_alias
    try:
        found = ask(*wanted.groups())
    except MlflowException as error:
        if is_missing(error) or error.error_code == "INVALID_PARAMETER_VALUE":
            raise _no_model(uri, root, error) from None
        raise _StoreAwayError(f"the MLflow store {tracking_uri(root)} cannot be asked: {_reason(error)}") from None
    source = str(found.source or "")
    return source if source.startswith(SCHEMES) else "", f"models:/{wanted['name']}/{found.version}"


def _download(uri: str, root: Path, scratch: str) -> Path:
    try:
        client, place = MlflowClient(_reachable(root)), uri
        if uri.startswith(_MODEL_ID):  # MLflow accepts no path after it
            place = client.get_logged_model(uri.removeprefix("models:/")).artifact_location
        return Path(mlflow.artifacts.download_artifacts(f"{place}/artifacts", dst_path=scratch))
    except _StoreAwayError as error:
        raise BadInputError(f"no model at {uri}: {error}") from None
    except (MlflowException, OSError) as error:
        raise _no_model(uri, root, error) from None


def _reachable(root: Path) -> str:
    """Configure and return the tracking URI, unless the store's file is missing: MLflow would create an empty one."""
    uri = tracking_uri(root)
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
        raise _StoreAwayError(
            f"{root} has no MLflow store at {uri} (run `make demo` there, start inside the project, or set "
            "MLFLOW_TRACKING_URI)"
        )
    return configure(root)


def _no_model(uri: str, root: Path, error: Exception) -> BadInputError:
    return BadInputError(f"no model at {uri} in the MLflow store {tracking_uri(root)}: {_reason(error)}")


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def champion_uri(root: Path, name: str = REGISTERED_MODEL) -> str | None:
    """`models:/<name>@champion` where the project's registry has a champion, else None; creates no store."""
    try:
        client = MlflowClient(_reachable(root))
    except _StoreAwayError:
        return None
    with store_errors():
        champion = champion_version(client, name)
    return f"models:/{name}@{CHAMPION}" if champion is not None else None
