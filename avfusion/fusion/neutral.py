"""Attention made neutral: what a model predicts when its attention says nothing, the weights staying as they are."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn


class Attending(nn.Module):
    """Base of modules with attention or gates that `neutralised` can make neutral.

    Attributes:
        neutral: None: attention and gates work. Else attention is neutral (correlations are 0, weights uniform), and
            gates are held at these values (channels,), by name; a gate that is not named is uniform.
    """

    neutral: Mapping[str, torch.Tensor] | None = None

    def hold(self, name: str, gates: torch.Tensor) -> torch.Tensor:
        """The gates (B, L, channels) or, where `neutral` is set, what they are held at."""
        if self.neutral is None:
            return gates
        held = self.neutral.get(name)
        if held is None:
            return torch.full_like(gates, 1 / gates.shape[-1])
        return held.to(gates).expand_as(gates)


def make_neutral(model: nn.Module, gates: Mapping[str, torch.Tensor]) -> None:
    """Make attention and gates of a model neutral for good."""
    for part in model.modules():
        if isinstance(part, Attending):
            part.neutral = gates


@contextmanager
def neutralised(model: nn.Module, gates: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Attention and gates of a model are neutral inside the context, and as before after it."""
    before = [(part, part.neutral) for part in model.modules() if isinstance(part, Attending)]
    make_neutral(model, gates)
    try:
        yield
    finally:
        for part, value in before:
            part.neutral = value


@contextmanager
def gate_means(model: nn.Module, names: tuple[str, ...]) -> Iterator[dict[str, torch.Tensor]]:
    """Watch a fusion model predict; after the context, the mapping has the mean (channels,) of each gate over clips.

    Args:
        names: of maps (B, L, channels). Clips count once per sequence that holds them; padded clips do not count.
    """
    sums, means = dict[str, torch.Tensor](), dict[str, torch.Tensor]()
    clips = 0

    def watch(_: nn.Module, inputs: tuple[torch.Tensor, ...], output: object) -> None:
        nonlocal clips
        used = ~inputs[4]
        clips += int(used.sum())
        for name in names:
            found = output.maps[name][used].double().sum(dim=0)  # type: ignore[attr-defined]
            sums[name] = sums[name] + found if name in sums else found

    handle = model.register_forward_hook(watch) if names else None
    try:
        yield means
    finally:
        if handle:
            handle.remove()
    means.update({name: total / clips for name, total in sums.items()})
