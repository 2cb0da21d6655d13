"""Load batches in a thread, up to two ahead of the computation; on a GPU they are copied meanwhile."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

AHEAD = 2
B = TypeVar("B")


def to_device(values: np.ndarray, device: torch.device) -> Tensor:
    """Copy to the device; for a GPU from pinned memory, without waiting."""
    tensor = torch.from_numpy(values)
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def load_ahead(load: Callable[[B], Tensor], batches: Iterable[B], device: torch.device) -> Generator[tuple[B, Tensor]]:
    """Yield each batch with the result of `load`, in order.

    Args:
        load: Runs in another thread, batch after batch; on a GPU in a separate stream.

    Raises:
        Exception: whatever `load` raised, when its batch's turn comes.
    """
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def loaded(batch: B) -> tuple[B, Tensor, torch.cuda.Event | None]:
        with torch.cuda.stream(stream) if stream else nullcontext():
            return batch, load(batch), stream.record_event() if stream else None

    def ready(future: Future[tuple[B, Tensor, torch.cuda.Event | None]]) -> tuple[B, Tensor]:
        batch, tensor, arrival = future.result()
        if arrival is not None:
            here = torch.cuda.current_stream(device)
            here.wait_event(arrival)
            tensor.record_stream(here)  # keeps its memory from being reused while it is in use
        return batch, tensor

    waiting: deque[Future[tuple[B, Tensor, torch.cuda.Event | None]]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="load") as thread:
        for batch in batches:
            waiting.append(thread.submit(loaded, batch))
            if len(waiting) > AHEAD:
                yield ready(waiting.popleft())
        while waiting:
            yield ready(waiting.popleft())
