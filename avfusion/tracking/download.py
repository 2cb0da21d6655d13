"""Download models from the store as folders: only safetensors and config, never code.

A model is fetched once and cached by its digest. Model and run ids are unique, so their URIs are resolved from the
cache alone, and so are versions of a server that were used before. Aliases, and versions in the project's own file, are
resolved by the store; if it cannot be asked, the cache holds its last answers.
"""

import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException

from avfusion.runtime.errors import BadInputError
from avfusion.runtime.quantities import duration, utc
from avfusion.tracking.answers import NoModelError, StoreAwayError, ask, no_retries
from avfusion.tracking.model_cache import ModelCache, answer_key, cache_folder, store_state
from avfusion.tracking.store import configure, public_uri, reason_of, tracking_uri

SCHEMES = ("models:/", "runs:/")
_MODEL_ID = "models:/m-"
_VERSION = re.compile(r"models:/(?P<name>[^/@]+)/(?P<version>\d+)")
_ALIAS = re.compile(r"models:/(?P<name>[^/@]+)@(?P<alias>.+)")


class _NoStoreError(StoreAwayError):
    """The project's store has not been made."""


@contextmanager
def downloaded_model(uri: str, root: Path) -> Iterator[tuple[Path, str]]:
    """Provide a folder with `fusion/` and `backbones/` of the model at `uri` (`models:/…`, `runs:/…/name`), and a note.

    The folder is in the cache, or temporary if the cache cannot be written.

    Raises:
        NoModelError: the store has no such model, or cannot be asked and the cache cannot resolve the URI.
        BadInputError: it cannot be downloaded.
    """
    uri = uri.rstrip("/")
    cache, store, state = ModelCache(cache_folder()), tracking_uri(root), store_state(root)
    served = not store.startswith("sqlite:")
    if served and _VERSION.fullmatch(uri) and (folder := cache.find(f"{store} {uri}")) is not None:
        yield folder, "from the cache"
        return
    try:
        unique, version, words = _resolve(uri, root)
    except StoreAwayError as error:
        folder, note = _without_store(uri, root, cache, error)
        if folder is None:
            raise _no_model(uri, error) from None
        yield folder, note
        return
    keys = [key for key in (unique, f"{store} {version}" if version else "") if key]
    if unique and (folder := cache.find(unique)) is not None:
        with suppress(OSError):
            cache.remember(folder.name, *keys)
            cache.remember(folder.name, answer_key(uri, root), state=state, words=words)
        yield folder, words
        return
    with tempfile.TemporaryDirectory(prefix="avfusion-model-") as scratch:
        folder = _download(uri, root, scratch)
        with suppress(OSError):  # read-only home, full disk: go on without the cache
            folder = cache.add(folder, *keys)
            cache.remember(folder.name, answer_key(uri, root), state=state, words=words)
        yield folder, words


def _without_store(uri: str, root: Path, cache: ModelCache, error: StoreAwayError) -> tuple[Path | None, str]:
    """The cached model of a version; of an alias the last answer of a store that does not answer now. And a note."""
    if (folder := cache.find(f"{tracking_uri(root)} {uri}")) is not None:
        return folder, f"from the cache: {error}"
    key = answer_key(uri, root)
    folder = None if isinstance(error, _NoStoreError) else cache.find(key, state=None)
    if folder is None:
        return None, ""
    age, version = duration(round(time.time() - cache.remembered_at(key))), cache.words(key)
    return folder, f"{version + ', ' if version else ''}as the store answered {age} ago, from the cache: {error}"


def _resolve(uri: str, root: Path) -> tuple[str, str, str]:
    """A permanent URI of the model, and the URI of its version and that in words; empty without a version.

    Raises:
        NoModelError: the store has no such version or alias.
        StoreAwayError: it cannot be asked.
    """
    if uri.startswith(("runs:/", _MODEL_ID)):
        return uri, "", ""
    wanted = _VERSION.fullmatch(uri) or _ALIAS.fullmatch(uri)
    if not wanted:
        return "", "", ""
    _check_exists(root)
    try:
        found = ask(
            root,
            lambda client: (
                client.get_model_version(*wanted.groups())
                if wanted.re is _VERSION
                else client.get_model_version_by_alias(*wanted.groups())
            ),
        )
    except MlflowException as error:
        raise NoModelError(f"no model at {uri}{_place(root, error)}") from None
    source = str(found.source or "")
    words = f"version {found.version}, registered {utc(found.creation_timestamp / 1000)}"
    return source if source.startswith(SCHEMES) else "", f"models:/{wanted['name']}/{found.version}", words


def _download(uri: str, root: Path, scratch: str) -> Path:
    try:
        _check_exists(root)
        place = uri
        if uri.startswith(_MODEL_ID):  # MLflow accepts no path after it
            place = ask(root, lambda client: client.get_logged_model(uri.removeprefix("models:/"))).artifact_location
        configure(root)
        with no_retries():  # a large file may take its time, but a server may not be silent
            return Path(mlflow.artifacts.download_artifacts(f"{place}/artifacts", dst_path=scratch))
    except StoreAwayError as error:
        raise _no_model(uri, error) from None
    except Exception as error:  # MLflow's, the network's, the disk's
        raise BadInputError(f"no model at {uri}{_place(root, error)}") from None


def _check_exists(root: Path) -> None:
    """Refuse to ask a store whose file is missing: MLflow would create an empty one."""
    uri = tracking_uri(root)
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
        raise _NoStoreError(
            f"{root} has no MLflow store at {uri} (run `make demo` there, start inside the project, or set "
            "MLFLOW_TRACKING_URI)"
        )


def _no_model(uri: str, error: StoreAwayError) -> NoModelError:
    found = NoModelError(f"no model at {uri}: {error}")
    found.away = "" if isinstance(error, _NoStoreError) else str(error)
    return found


def _place(root: Path, error: Exception) -> str:
    return f" in the MLflow store {public_uri(tracking_uri(root))}: {reason_of(error)}"
