"""The processes of one training, started by `torchrun`: sharing batches and combining results."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from avfusion.runtime.errors import BadInputError


@dataclass(frozen=True)
class Processes:
    """One of the processes that share a training; with a single process, each method returns its argument."""

    rank: int = 0
    count: int = 1
    device: str = "cpu"

    @property
    def leads(self) -> bool:
        """Whether this is the first process, which alone prints, logs and writes files."""
        return self.rank == 0

    def share(self, batch: np.ndarray) -> np.ndarray:
        """This process's part of a batch of clip numbers; parts differ in length by at most one."""
        return np.array_split(batch, self.count)[self.rank]

    def gather(self, rows: Tensor, total: int) -> Tensor:
        """Rows of all parts of a batch of `total`, in its order, on every process.

        Only this process's own rows carry a gradient. For a loss over all rows, the sum of the parameters' gradients
        over the processes is therefore the gradient of that loss.
        """
        if self.count == 1:
            return rows
        lengths = [len(part) for part in np.array_split(np.arange(total), self.count)]
        padded = rows.new_zeros(max(lengths), *rows.shape[1:])
        padded[: len(rows)] = rows.detach()
        parts = [torch.empty_like(padded) for _ in lengths]
        dist.all_gather(parts, padded)
        parts = [part[:length] for part, length in zip(parts, lengths, strict=True)]
        parts[self.rank] = rows
        return torch.cat(parts)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace the gradients by their sums over all processes."""
        gradients = [weight.grad for weight in parameters if weight.grad is not None]
        if self.count == 1 or not gradients:
            return
        together = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(together)
        parts = together.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Sum of all processes' arrays, of one shape."""
        if self.count == 1:
            return values
        tensor = torch.from_numpy(values).to(self.device)
        dist.all_reduce(tensor)
        return tensor.cpu().numpy()

    def from_leader(self, value: Any) -> Any:
        """The first process's value, on all processes."""
        if self.count == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]


def torchrun_rank() -> int:
    """Rank of this process under `torchrun`, from 0; 0 also without `torchrun`."""
    return int(os.environ["RANK"]) if dist.is_torchelastic_launched() else 0


@contextmanager
def joined_processes(device: str) -> Iterator[Processes]:
    """Join the processes started by `torchrun` (nccl between GPUs, else gloo); without `torchrun` a single process.

    Args:
        device: `cuda`, with a GPU for each process of a machine, or `cpu`.

    Raises:
        BadInputError: there are more processes on this machine than GPUs.
    """
    if not dist.is_torchelastic_launched():
        yield Processes(device=device)
        return
    if device == "cuda":
        local, here = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
        if here > torch.cuda.device_count():
            raise BadInputError(
                f"torchrun started {here} processes on a machine with {torch.cuda.device_count()} GPUs: "
                "--nproc-per-node must be at most that"
            )
        device = f"cuda:{local}"
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if device != "cpu" else "gloo")
    yield Processes(dist.get_rank(), dist.get_world_size(), device)
    dist.destroy_process_group()  # not after an error, when torchrun ends the other processes
