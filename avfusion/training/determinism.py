"""Switches of torch for deterministic results."""

import os

import torch


def make_deterministic(threads: int) -> None:
    """Fix the thread count (it decides how sums are split) and allow only deterministic algorithms in this process."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else deterministic matrix products fail on a GPU
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode("error")  # use_deterministic_algorithms loads the compiler first: 1 s
    torch.backends.cudnn.benchmark = False
