"""Exponential moving averages of a model's weights over the steps of a training (arXiv 2411.18704)."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from avfusion.fusion.base import FusionModel
from avfusion.training.sequences import Batch


def weight_average(model: FusionModel, decay: float) -> AveragedModel:
    """The moving average of a model's weights; `update_parameters(model)` after a step adds the weights of that step.

    It begins with the weights after the first step. Buffers are the model's own.

    Args:
        decay: weight of the average so far, in (0, 1); the average covers about 1 / (1 - decay) steps.
    """
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))


def renew_statistics(averaged: AveragedModel, batches: Iterable[Batch]) -> None:
    """Make the statistics of batch normalisation those of the averaged weights, by a pass over training sequences.

    Running statistics describe activations of the weights of the last steps, and no mean of them describes those of the
    averaged weights (arXiv 2411.18704 computes them anew, too). Without batch normalisation `batches` is not read.

    The pass is in training mode, as that of the model's own statistics, and leaves the states of all RNGs as they were.
    """
    device = next(averaged.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        update_bn(batches, _OfBatches(averaged))


class _OfBatches(nn.Module):
    """A fusion model whose input is a `Batch`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> torch.Tensor:
        predictions: torch.Tensor = self.model(
            batch.audio, batch.visual, batch.audio_present, batch.visual_present, batch.padding
        ).predictions
        return predictions
