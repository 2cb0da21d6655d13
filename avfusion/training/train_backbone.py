"""The training of one backbone from its initial weights on, the same whoever asks for it."""

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
    """Build a backbone and train it; zero epochs leave it with the weights that it starts from.

    Args:
        build: gives the network with its initial weights; what it draws follows from `shared.seed`.
        data: gives what it is trained on.
        settings: of this backbone.
        shared: what both backbones are trained by.
        threads: that torch computes with.
        processes: that share the training.
        checkpoints: folder from which a broken training goes on.
        fingerprint: of this training, in its checkpoints.
    """
    make_deterministic(threads)
    torch.manual_seed(shared.seed)  # of the initial weights
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
