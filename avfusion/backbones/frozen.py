"""A trained backbone for extraction: batch norms folded into convolutions, in fast arithmetic."""

import copy
from contextlib import suppress

import torch
from torch import nn
from torch.fx.experimental.optimization import fuse
from torch.fx.proxy import TraceError

from avfusion.backbones.registry import Backbone

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def arithmetic(dtype: str, device: torch.device) -> torch.dtype:
    """The arithmetic of a feature spec's dtype on a device.

    CPUs have no float16 convolutions; emulation takes twenty times as long as float32, which is used there instead.
    Features from a GPU differ from those by less than the rounding of float16.
    """
    if dtype == "float16" and device.type == "cpu":
        return torch.float32
    return getattr(torch, dtype)


def memory_format(stream: str) -> torch.memory_format:
    """Memory format of a stream's clips: channels last, as in decoded crops and fastest for convolutions."""
    return torch.channels_last_3d if stream == "visual" else torch.channels_last


def freeze(backbone: Backbone, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """A copy of a backbone's network for inference; the backbone stays unchanged.

    Batch norms are folded into the preceding convolutions, which saves a pass over memory for each. Folding uses
    float64, so that the product is rounded once to `dtype` and features lose no precision.
    """
    network = copy.deepcopy(backbone.network).eval().double()
    with suppress(TraceError):  # a network with data-dependent code keeps its batch norms
        network = fuse(network, inplace=True)
    network.requires_grad_(False).to(device, dtype)
    for weights in network.parameters():
        if weights.ndim in CHANNELS_LAST:
            weights.data = weights.data.contiguous(memory_format=CHANNELS_LAST[weights.ndim])
    return network
