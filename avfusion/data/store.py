"""A folder with one file per track (or video), kept current: every file matches its inputs, and no other file exists.

DVC neither empties nor checks these folders (`persist: true`), so the stages do: every file carries a stamp of its
inputs and code; a file with another stamp is remade, a file of no current track is deleted, and an unfinished file
never has a final name.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from avfusion.corpora.source_hashes import RESCAN
from avfusion.runtime.atomic import TEMPORARY_PREFIX, atomic_path
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.runtime.execution import SKIP_HINT, list_failures, raise_failures, run_tasks
from avfusion.runtime.settings import ExecutionSettings
from avfusion.runtime.stamps import Stamp

T = TypeVar("T")


@dataclass(frozen=True)
class Store(Generic[T]):
    """A folder of results and its intended content.

    Attributes:
        wanted: stamp (without content) of the intended file, by key.
        payloads: input of `make` by key; keys that need not be made may be absent.
        make: `make(payload, path, wanted)` writes the file with the stamp completed; runs in the executor, so it must
            be picklable.
        read_stamp: returns the stamp in a file; None (or any exception) if there is none.
    """

    folder: Path
    suffix: str
    wanted: Mapping[str, Stamp]
    payloads: Mapping[str, T]
    make: Callable[[T, Path, Stamp], None]
    read_stamp: Callable[[Path], Stamp | None]

    def path(self, key: str) -> Path:
        """The file of a key."""
        return self.folder / f"{key}{self.suffix}"

    def stamp(self, key: str) -> Stamp | None:
        """The stamp of the existing file; None if it cannot be read."""
        try:
            return self.read_stamp(self.path(key))
        except Exception:  # unreadable files are remade
            return None


@dataclass(frozen=True)
class StoreReport:
    """Keys that were made, kept or removed, and the reasons of those that failed."""

    made: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)


def update_store(
    store: Store[Any],
    *,
    execution: ExecutionSettings,
    label: str,
    on_error: Literal["fail", "skip"] = "fail",
    limits_s: Mapping[str, float] | None = None,
    weights: Mapping[str, float] | None = None,
    gpus: int = 0,
) -> StoreReport:
    """Bring a store to hold exactly one file of the wanted stamp for every key.

    Args:
        limits_s: Time limit in seconds by key, as in `run_tasks`; for files made from media.
        weights: Relative amount of work by key, as in `run_tasks`.

    A key that fails has no file afterwards, not even an outdated one. The counts are printed, failures listed.

    Raises:
        AVFusionError: some keys failed and `on_error` is not "skip"; finished files stay.
    """
    store.folder.mkdir(parents=True, exist_ok=True)
    _remove_temporaries(store.folder)
    kept, removed = _sort_out(store, label)
    due = [key for key in store.wanted if key not in kept]
    tasks = [(key, (store.make, store.payloads[key], store.path(key), store.wanted[key])) for key in due]
    try:
        outcomes = run_tasks(
            _make_file,
            tasks,
            executor=execution.executor,
            workers=execution.workers,
            label=label,
            on_error="skip",
            limits_s=limits_s,
            weights=weights,
            gpus=gpus,
        )
    finally:
        _remove_temporaries(store.folder)  # left by workers that died or were stopped by Ctrl-C
    failed = {outcome.key: outcome.error for outcome in outcomes if outcome.error is not None}
    made = tuple(key for key in due if key not in failed)
    print(f"{label}: {len(made)} made, {len(kept)} kept, {len(removed)} removed, {len(failed)} failed", flush=True)
    list_failures(failed)
    if on_error != "skip":
        refuse_failures(label, failed, len(store.wanted))
    return StoreReport(made, tuple(key for key in store.wanted if key in kept), removed, failed)


def refuse_failures(label: str, failed: Mapping[str, str], total: int) -> None:
    """As `raise_failures`, with a hint; files that changed since the scan need none."""
    if failed and all(reason.endswith(RESCAN) for reason in failed.values()):
        raise_failures(label, failed, total, error=BadInputError)
    raise_failures(label, failed, total, hint=SKIP_HINT)


def _make_file(task: tuple[Callable[[Any, Path, Stamp], None], Any, Path, Stamp]) -> None:
    make, payload, path, wanted = task
    with atomic_path(path) as temporary:
        make(payload, temporary, wanted)
        if not temporary.is_file():
            raise AVFusionError(f"nothing was written for {path.name}")


def _sort_out(store: Store[Any], label: str) -> tuple[set[str], tuple[str, ...]]:
    """Delete unwanted and outdated files; return the keys of current files, and the keys removed as unwanted."""
    kept, removed, unreadable = set(), [], 0
    for path in sorted(store.folder.iterdir()):
        if path.is_dir() or not path.name.endswith(store.suffix):
            continue
        key = path.name.removesuffix(store.suffix)
        if key not in store.wanted:
            removed.append(key)
            path.unlink()
            continue
        stamp = store.stamp(key)
        unreadable += stamp is None
        if stamp is not None and stamp.is_current(store.wanted[key]):
            kept.add(key)
        else:
            path.unlink()
    if unreadable:
        print(f"{label}: no stamp can be read in {unreadable} of the files: made anew", flush=True)
    return kept, tuple(removed)


def _remove_temporaries(folder: Path) -> None:
    for pattern in (f"{TEMPORARY_PREFIX}*", ".tmp*"):  # the second pattern is safetensors' own
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)
