"""Folders that a command writes as a whole, and replaces only if they are its own."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from avfusion.runtime.atomic import atomic_folder
from avfusion.runtime.errors import BadInputError


def refuse_existing(out: Path, force: bool, is_own: Callable[[Path], bool], made: str) -> None:
    """Refuse if `out` exists, unless it is an earlier result that may be replaced.

    Args:
        is_own: tells whether a folder is an earlier result.
        made: participle for messages about an earlier result (`imported`).

    Raises:
        BadInputError: `out` must be kept.
    """
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise BadInputError(f"{out} is no folder: choose another -o")
    there = sorted(path.name for path in out.iterdir()) if out.exists() else []
    if not there:
        return
    if not is_own(out):
        raise BadInputError(f"{out} holds other things ({', '.join(there[:3])} …): choose another -o")
    if not force:
        raise BadInputError(f"{out} is {made} already: replace it with --force, or choose another -o")


def new_folder(out: Path, force: bool, is_own: Callable[[Path], bool], made: str) -> AbstractContextManager[Path]:
    """Provide a temporary folder that replaces `out` at the end, by the rules of `refuse_existing`."""
    return atomic_folder(out, lambda _: refuse_existing(out, force, is_own, made))
