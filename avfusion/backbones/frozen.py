"""A trained backbone as extraction runs it: its convolutions hold the batch norms, in the arithmetic that is fast."""

import copy
from contextlib import suppress

import torch
from torch import nn
from torch.fx.experimental.optimization import fuse
from torch.fx.proxy import TraceError

from avfusion.backbones.registry import Backbone

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def arithmetic(dtype: str, device: torch.device) -> torch.dtype:
    """What a feature spec's dtype is computed in on a device.

    CPUs have no arithmetic for convolutions in float16: emulated it takes twenty times as long as float32, which is
    taken there instead. Features made on a GPU differ from it by less than the rounding of float16.
    """
    if dtype == "float16" and device.type == "cpu":
        return torch.float32
    return getattr(torch, dtype)


def memory_format(stream: str) -> torch.memory_format:
    """Of a stream's clips: channels last, the order of pixels in a decoded crop, which convolutions are fastest in."""
    return torch.channels_last_3d if stream == "visual" else torch.channels_last


def freeze(backbone: Backbone, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """A copy of a backbone's network for inference alone; the backbone itself stays as it is.

    Batch norms are multiplied into the convolutions before them, which saves a pass over memory after each; in float64,
    so that `dtype` rounds their product once, and features are no further from the exact ones than without it.
    """
    network = copy.deepcopy(backbone.network).eval().double()
    with suppress(TraceError):  # a network whose code depends on its input keeps its batch norms
        network = fuse(network, inplace=True)
    network.requires_grad_(False).to(device, dtype)
    for weights in network.parameters():
        if weights.ndim in CHANNELS_LAST:
            weights.data = weights.data.contiguous(memory_format=CHANNELS_LAST[weights.ndim])
    return network
