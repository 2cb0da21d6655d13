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
from avfusion.runtime.printable import printable
from avfusion.runtime.tensor_files import MOST_GROWTH, check_archive, check_header
from avfusion.runtime.work_limits import memory_limit

LISTED = 5
LONGEST = 200  # characters of a name or reason in messages
_SPARE_BYTES = 500e6  # of memory, beside the tensors of a checkpoint
_REAL = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
ORDINARY = (*_REAL, torch.int16, torch.int32, torch.int64)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        BadInputError: it is not a complete safetensors file.
    """
    try:
        check_header(path)
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise BadInputError(f"{path} is not a whole safetensors file ({shortened(str(error))})") from None


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
        BadInputError: the file is missing, a folder, truncated, of another kind, without tensors, names code, or asks
            for more memory than a file of its size needs.
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
    if overstated := [name for name, value in state.items() if _is_overstated(value)]:
        raise BadInputError(f"{path} holds fewer numbers than it claims in {listing(overstated)}")
    parallel = all(name.startswith("module.") for name in state)
    return {name.removeprefix("module.") if parallel else name: value for name, value in state.items()}


def load_pickled(path: Path, allowed: Sequence[Any] = ()) -> Any:
    """What `torch.save` wrote, on the CPU; neither code is run, nor more memory taken than a file of its size needs.

    Raises:
        Exception: of many kinds, for other files; `pickle_fault` says why.
    """
    check_archive(path)
    with (
        memory_limit(MOST_GROWTH * path.stat().st_size + _SPARE_BYTES),
        torch.serialization.safe_globals(list(allowed)),
    ):
        return torch.load(path, map_location="cpu", weights_only=True)


def pickle_fault(error: Exception) -> str:
    """Why a file cannot be loaded, in one line."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if "weights_only" in reason:  # replaces torch's advice to load it in a way that runs code
        return "it holds something else"
    if "allocate memory" in reason:
        return "it asks for more memory than a file of its size needs"
    return shortened(reason)


def _unpickle(path: Path, allowed: Sequence[Any]) -> Any:
    try:
        return load_pickled(path, allowed)
    except Exception as error:  # torch raises many kinds of errors for other files
        named = re.search(r"GLOBAL ([\w.]+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
        if named:
            code = f"names {shortened(named[1])}, which no checkpoint of tensors needs: not loaded"
            raise BadInputError(f"{path} {code}") from None
        raise BadInputError(f"{path} is not a whole checkpoint of tensors: {pickle_fault(error)}") from None


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


def _is_overstated(tensor: Tensor) -> bool:
    """Whether a tensor has more numbers than its storage, which strides of 0 make possible."""
    if tensor.layout is not torch.strided or tensor.device.type == "meta":
        return False
    try:
        return tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes()
    except RuntimeError:  # no storage at all
        return True


def shortened(text: str) -> str:
    """A text of somebody else's file for messages: in one line, cut where it is long."""
    return printable(text if len(text) <= LONGEST else f"{text[:LONGEST]}…")


def listing(names: Iterable[str]) -> str:
    """The first names in order, and the number of the rest."""
    ordered = sorted(names)
    more = f" and {len(ordered) - LISTED} more" if len(ordered) > LISTED else ""
    return ", ".join(map(shortened, ordered[:LISTED])) + more
