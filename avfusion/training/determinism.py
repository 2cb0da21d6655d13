"""Same bytes in, same bytes out: the switches of torch that decide it."""

import os

import torch


def make_deterministic(threads: int) -> None:
    """Fix the thread count (sums are split by it) and allow only deterministic algorithms, for this process."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else deterministic matrix products fail on a GPU
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode("error")  # use_deterministic_algorithms loads the compiler first: 1 s
    torch.backends.cudnn.benchmark = False


def default_device() -> str:
    """The device that training runs on: the first GPU where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"
