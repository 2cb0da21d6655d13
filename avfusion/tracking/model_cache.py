"""Downloaded models in the user's cache folder, by digest: fetched once, checked on every use, available offline.

`models/<digest>/` holds a model's `fusion/` and `backbones/`; `known/` the digests behind URIs of a store, permanently
or until the store's file changes. The folder may be deleted at any time; models are then downloaded again.
"""

import hashlib
import json
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from platformdirs import user_cache_dir

from avfusion.fusion.model_folder import ModelFolder
from avfusion.runtime.atomic import TEMPORARY_PREFIX, write_json
from avfusion.runtime.errors import AVFusionError
from avfusion.tracking.store import tracking_uri

VARIABLE = "AVFUSION_CACHE"


def cache_folder() -> Path:
    """`AVFUSION_CACHE` if set, else the platform's folder for caches (Linux: `~/.cache/avfusion`)."""
    return Path(os.environ.get(VARIABLE) or user_cache_dir("avfusion", appauthor=False))


class ModelCache:
    """The cached models in a folder, which is created with the first model."""

    def __init__(self, folder: Path) -> None:
        self.models = folder / "models"
        self._known = folder / "known"

    def find(self, key: str, state: str | None = "") -> Path | None:
        """The model added under a key; None if there is none, or its files have changed.

        Args:
            state: state of the store; must equal the state remembered with the key. None: whatever it was.
        """
        try:
            note = json.loads(self._note(key).read_text(encoding="utf-8"))
            digest = str(note["model_digest"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if state is not None and note.get("store_state", "") != state:
            return None
        folder = self.models / digest
        return folder if _is_whole(folder, digest) else None

    def add(self, model: Path, *keys: str) -> Path:
        """Copy a model into the cache under some keys.

        Raises:
            OSError: the folder cannot be written, or the disk is full.
            AVFusionError: the folder is not a model.
        """
        found = ModelFolder.open(model)
        digest = found.digest()
        folder = self.models / digest
        if not _is_whole(folder, digest):
            self.models.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=self.models))
            try:
                found.copy_to(temporary)
                shutil.rmtree(folder, ignore_errors=True)  # remove a damaged copy
                with suppress(FileExistsError):  # another process was faster
                    _move(temporary, folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        self.remember(digest, *keys)
        return folder

    def remember(self, digest: str, *keys: str, state: str = "", words: str = "") -> None:
        """Remember keys for a cached model, in this state of the store, with words for people."""
        facts = {"store_state": state, "words": words}
        for key in keys:
            write_json(self._note(key), {"model_digest": digest} | {name: fact for name, fact in facts.items() if fact})

    def words(self, key: str) -> str:
        """The words remembered with a key; "" without."""
        try:
            return str(json.loads(self._note(key).read_text(encoding="utf-8")).get("words", ""))
        except (OSError, ValueError, AttributeError):
            return ""

    def remembered_at(self, key: str) -> float:
        """When a key was remembered last, in seconds since 1970; now if it was not."""
        try:
            return self._note(key).stat().st_mtime
        except OSError:
            return time.time()

    def _note(self, key: str) -> Path:
        return self._known / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def store_state(root: Path) -> str:
    """A value that changes with the store's SQLite file; empty for other stores."""
    uri = tracking_uri(root)
    if not uri.startswith("sqlite:///"):
        return ""
    database = Path(uri.removeprefix("sqlite:///"))
    try:
        times = [(file.stat().st_size, file.stat().st_mtime_ns) for file in _files(database) if file.exists()]
    except OSError:
        return ""
    return json.dumps(times) if times else ""


def last_answer(uri: str, root: Path) -> tuple[Path, str] | None:
    """The cached model of the store's last answer for `uri` and its version in words, if the store has not changed.

    It saves every `avfusion predict` the seconds of importing and asking MLflow.
    """
    cache, key, state = ModelCache(cache_folder()), answer_key(uri, root), store_state(root)
    folder = cache.find(key, state) if state else None
    return None if folder is None else (folder, cache.words(key))


def answer_key(uri: str, root: Path) -> str:
    """The key of the store's last answer for `uri`."""
    return f"{tracking_uri(root)} answered {uri}"


def _files(database: Path) -> tuple[Path, Path]:
    return database, database.with_name(database.name + "-wal")


def _move(temporary: Path, folder: Path) -> None:
    try:
        os.rename(temporary, folder)
    except OSError:
        if folder.exists():
            raise FileExistsError(folder) from None
        raise


def _is_whole(folder: Path, digest: str) -> bool:
    try:
        return ModelFolder.open(folder).digest() == digest
    except (AVFusionError, OSError):
        return False
