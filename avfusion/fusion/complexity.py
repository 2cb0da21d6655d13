"""What a fusion model costs: its parameters, and the multiplications of one sequence."""

import copy
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from avfusion.fusion.base import FusionModel


@dataclass(frozen=True)
class Complexity:
    """Size and cost of a fusion model, without its backbones.

    Attributes:
        parameters: trainable numbers.
        multiply_adds: multiplications with addition of matrix products for one sequence of L clips, forward;
            element-wise operations (tanh, softmax, norms) are not counted.
    """

    parameters: int
    multiply_adds: int


def complexity(model: FusionModel) -> Complexity:
    """Count parameters and multiply-adds; nothing is computed, so a large model costs no more than a small one."""
    # Real devices run LSTMs as one operation of unknown cost; the meta device takes them apart.
    blueprint = copy.deepcopy(model).to("meta").eval().requires_grad_(False)
    audio = torch.empty(1, model.length, model.audio_dim, device="meta")
    visual = torch.empty(1, model.length, model.visual_width, device="meta")
    counter = FlopCounterMode(display=False)
    with counter:
        blueprint(audio, visual)
    parameters = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return Complexity(parameters, counter.get_total_flops() // 2)
