"""Read named tensors from files of other people: nothing in a file is executed, nothing unknown is ignored."""

import pickle
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from avfusion.runtime.errors import BadInputError

LISTED = 5
_REAL = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
ORDINARY = (*_REAL, torch.int16, torch.int32, torch.int64)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        BadInputError: it is not a complete safetensors file.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise BadInputError(f"{path} is not a whole safetensors file ({error})") from None


def refuse_no_file(path: Path, key: str = "") -> None:
    """Raise BadInputError if there is no file at `path`; `key` is the parameter that names it."""
    if not path.is_file():
        fault = "is a folder, a file is needed" if path.is_dir() else "does not exist"
        raise BadInputError(f"{key}{': ' if key else ''}{path} {fault}")


def read_checkpoint(path: str | Path, *keys: str, allowed: Sequence[Any] = ()) -> dict[str, Tensor]:
    """The tensors of a PyTorch checkpoint (zip or legacy, saved on any device) or of a safetensors file.

    Args:
        keys: entries of a checkpoint that may hold the tensors; a bare mapping of tensors is accepted, too.
        allowed: constructors that the file may name beside those of tensors, as for `torch.serialization.safe_globals`.
            Any other is refused and not called.

    Returns:
        Tensors on the CPU, without the prefix `module.` of `torch.nn.DataParallel`.

    Raises:
        BadInputError: the file is missing, a folder, truncated, of another kind, without tensors, or names code.
    """
    path = Path(path)
    refuse_no_file(path)
    loaded = read_safetensors(path) if path.suffix == ".safetensors" else _unpickle(path, allowed)
    state = next((loaded[key] for key in keys if key in loaded), loaded) if isinstance(loaded, dict) else loaded
    if (
        not isinstance(state, dict)
        or not state
        or not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items())
    ):
        places = f", neither bare nor under {' or '.join(map(repr, keys))}" if keys else ""
        raise BadInputError(f"{path} holds no mapping of names to tensors{places}")
    parallel = all(name.startswith("module.") for name in state)
    return {name.removeprefix("module.") if parallel else name: value for name, value in state.items()}


def _unpickle(path: Path, allowed: Sequence[Any]) -> Any:
    try:
        with torch.serialization.safe_globals(list(allowed)):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if named := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise BadInputError(f"{path} names {named[1]}, which no checkpoint of tensors needs: not loaded") from None
        raise BadInputError(_no_checkpoint(path, error)) from None
    except Exception as error:  # torch raises many kinds of errors for other files
        raise BadInputError(_no_checkpoint(path, error)) from None


def _no_checkpoint(path: Path, error: Exception) -> str:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if "weights_only" in reason:  # replaces torch's advice to load it in a way that runs code
        reason = "it holds something else"
    return f"{path} is not a whole checkpoint of tensors: {reason}"


def check_fit(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor], source: str) -> None:
    """Compare names and shapes, and check the numbers.

    Args:
        expected: tensors of the required names and shapes.
        source: origin of `tensors`, for messages.

    Raises:
        BadInputError: names are missing or unexpected, shapes differ, or numbers are impossible (`refuse_unusable`);
            the message names them.
    """
    missing, unexpected = expected.keys() - tensors.keys(), tensors.keys() - expected.keys()
    shared = [name for name in expected if name in tensors and not tensors[name].is_complex()]  # those: below
    other = [name for name in shared if expected[name].is_floating_point() != tensors[name].is_floating_point()]
    faults = [
        *([f"missing {listing(missing)}"] if missing else []),
        *([f"unexpected {listing(unexpected)}"] if unexpected else []),
        *(
            f"{name} is {tuple(tensors[name].shape)}, {tuple(value.shape)} is needed"
            for name, value in expected.items()
            if name in tensors and tensors[name].shape != value.shape
        ),
        *(f"{name} is {tensors[name].dtype}, {expected[name].dtype} is needed".replace("torch.", "") for name in other),
    ]
    if faults:
        raise BadInputError(f"weights {source} do not fit: {'; '.join(faults[:6])}")
    refuse_unusable(tensors, source)


def load_named(module: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Fill a module with tensors of exactly its names and shapes."""
    expected = module.state_dict()
    # Early versions of torch had no counter of batches; it affects no output.
    tensors = {n: t for n, t in expected.items() if n.endswith("num_batches_tracked")} | dict(tensors)
    check_fit(expected, tensors, source)
    module.load_state_dict(tensors)


def refuse_unusable(tensors: Mapping[str, Tensor], source: str) -> None:
    """Raise BadInputError if a tensor has an unusual type, or holds NaN, infinity or a negative variance."""
    odd = [name for name, tensor in tensors.items() if not _ordinary(tensor)]
    if odd:
        kinds = ", ".join(sorted({f"{tensors[name].dtype}".removeprefix("torch.") for name in odd}))
        raise BadInputError(
            f"weights {source} are unusable in {listing(odd)} ({kinds}, or not dense): dense numbers of 16 to 64 bits "
            "are needed"
        )
    bad = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if bad:
        raise BadInputError(f"weights {source} hold NaN or infinity in {listing(bad)}")
    negative = [name for name, tensor in tensors.items() if name.endswith("running_var") and (tensor < 0).any()]
    if negative:
        raise BadInputError(f"weights {source} hold negative variances in {listing(negative)}")


def _ordinary(tensor: Tensor) -> bool:
    return tensor.layout is torch.strided and tensor.device.type != "meta" and tensor.dtype in ORDINARY


def listing(names: Iterable[str]) -> str:
    """The first names in order, and the number of the rest."""
    ordered = sorted(names)
    more = f" and {len(ordered) - LISTED} more" if len(ordered) > LISTED else ""
    return ", ".join(ordered[:LISTED]) + more
