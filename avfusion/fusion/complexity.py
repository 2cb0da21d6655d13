"""The cost of a fusion model: its parameters, and the multiplications for one sequence."""

import copy
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from avfusion.fusion.base import FusionModel


@dataclass(frozen=True)
class Complexity:
    """Size and cost of a fusion model, without its backbones.

    Attributes:
        multiply_adds: multiply-adds of matrix products in the forward pass of one sequence of L clips, without
            element-wise operations (tanh, softmax, norms).
    """

    parameters: int
    multiply_adds: int


def complexity(model: FusionModel) -> Complexity:
    """Count parameters and multiply-adds without computing anything, so that large models cost no more time."""
    # Real devices run an LSTM as one operation of unknown cost; the meta device decomposes it.
    blueprint = copy.deepcopy(model).to("meta").eval().requires_grad_(False)
    audio = torch.empty(1, model.length, model.audio_dim, device="meta")
    visual = torch.empty(1, model.length, model.visual_width, device="meta")
    counter = FlopCounterMode(display=False)
    with counter:
        blueprint(audio, visual)
    parameters = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return Complexity(parameters, counter.get_total_flops() // 2)
