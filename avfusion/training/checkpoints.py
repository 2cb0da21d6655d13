"""Checkpoints: everything that the rest of a training depends on, in one file, written whole or not at all."""

from pathlib import Path
from typing import Any

import torch

from avfusion.runtime.atomic import atomic_path
from avfusion.runtime.errors import AVFusionError
from avfusion.runtime.named_tensors import load_pickled, pickle_fault

CHECKPOINT = "checkpoint.pt"


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write tensors, numbers, strings, lists and mappings to `folder`/checkpoint.pt, with the state of all RNGs."""
    # Into a Python file: torch's own writer does not report the system's error.
    with atomic_path(folder / CHECKPOINT) as temporary, temporary.open("wb") as file:
        torch.save(state | {"rng": _rng_state()}, file)


def load_checkpoint(folder: Path, fingerprint: str) -> dict[str, Any] | None:
    """Read `folder`/checkpoint.pt and restore the states of the RNGs; None without a checkpoint.

    Raises:
        AVFusionError: the file is not a checkpoint, or its fingerprint is another one.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = load_pickled(path)
    except Exception as error:  # torch raises many kinds of errors for other files
        raise AVFusionError(
            f"{path} cannot be read ({pickle_fault(error)}): delete it to train from the start"
        ) from None
    if state.get("fingerprint") != fingerprint:
        raise AVFusionError(
            f"{path} belongs to another training, or was begun on another kind of device: delete it to train from the "
            "start"
        )
    rng = state.pop("rng")
    torch.set_rng_state(rng["cpu"])
    if rng["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(rng["cuda"])
    return state


def _rng_state() -> dict[str, Any]:
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}
