"""Train one backbone from its initial weights; shared by all callers."""

from collections.abc import Callable
from pathlib import Path

import torch

from avfusion.backbones.registry import Backbone
from avfusion.backbones.settings import BackboneSettings, BackbonesSettings
from avfusion.training.backbones import BackboneTrainer, BackboneTraining, TrainingData
from avfusion.training.batch_norm import batch_norms, synchronise_statistics
from avfusion.training.determinism import make_deterministic
from avfusion.training.precision import Precision
from avfusion.training.processes import Processes


def train_backbone(
    build: Callable[[], Backbone],
    data: Callable[[], TrainingData],
    settings: BackboneSettings,
    shared: BackbonesSettings,
    *,
    precision: Precision,
    threads: int,
    processes: Processes,
    checkpoints: Path | None = None,
    fingerprint: str = "",
) -> tuple[Backbone, BackboneTraining]:
    """Build a backbone and train it; with zero epochs it keeps its initial weights.

    Args:
        build: makes the network with its initial weights, drawn from `shared.seed`.
        checkpoints: folder of checkpoints, from which an interrupted training continues.
        fingerprint: fingerprint of this training for its checkpoints.
    """
    make_deterministic(threads)
    torch.manual_seed(shared.seed)  # for the initial weights
    backbone = build()
    if processes.leads:
        _warn_of_statistics(backbone, shared, settings)
    if not settings.epochs:
        return backbone, BackboneTraining([], 0)
    if shared.batch_norm == "train":
        synchronise_statistics(backbone, processes)
    prepare, train, val = data()
    training = BackboneTrainer(
        backbone,
        prepare,
        train,
        val,
        settings,
        seed=shared.seed,
        batch_norm=shared.batch_norm,
        augment=shared.augmentation,
        precision=precision,
        processes=processes,
        checkpoints=checkpoints,
        fingerprint=fingerprint,
    ).fit()
    return backbone, training


def _warn_of_statistics(backbone: Backbone, shared: BackbonesSettings, settings: BackboneSettings) -> None:
    if shared.batch_norm == "frozen" and settings.weights == "random" and batch_norms(backbone):
        print(
            f"warning: {backbone.stream} backbone: backbones.batch_norm is frozen, but its weights are random, so its "
            "statistics are those of no data and it trains badly: set backbones.batch_norm to train",
            flush=True,
        )
