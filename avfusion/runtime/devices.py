"""Choose the device of torch: a GPU if one can be used, else the CPU."""

import re
import sys
import warnings
from functools import cache

import torch


@cache
def default_device() -> str:
    """`cuda` if torch sees a GPU, else `cpu`; a GPU that is there but cannot be used is named on the error stream."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        seen = torch.cuda.is_available()
    if not seen and caught:  # torch warns of a driver that is too old, or of one that fails, and of no missing GPU
        _say_left_out(str(caught[0].message).removeprefix("CUDA initialization: "))
    return "cuda" if seen else "cpu"


@cache
def working_device() -> str:
    """As `default_device`, after a trial on the GPU: one that is full, or unknown to this torch, is left out, too.

    The trial takes memory on the GPU, so that only the process that uses the GPU should ask.
    """
    device = default_device()
    if device == "cuda":
        try:
            torch.ones(1, device=device).add_(1).item()
        except RuntimeError as error:
            _say_left_out(str(error))
            return "cpu"
    return device


def device_text(device: torch.device) -> str:
    """A device for people: `cpu`, or `cuda:0 (NVIDIA H200)`."""
    if device.type != "cuda":
        return str(device)
    index = torch.cuda.current_device() if device.index is None else device.index
    return f"cuda:{index} ({torch.cuda.get_device_name(index)})"


def _say_left_out(reason: str) -> None:
    line = reason.strip().splitlines()[0]
    numbered = re.search(r"Error \d+: [^(]+", line)  # of CUDA, behind a sentence that gives no reason
    sentence = numbered[0] if numbered else line.split(". ")[0]
    print(f"note: running on the CPU, since the GPU cannot be used: {sentence.strip(' .')}", file=sys.stderr)
