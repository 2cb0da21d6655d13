"""A disk that fills up while a training writes its checkpoint: the last one stays, and training goes on from it."""

import resource
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from avfusion.training.checkpoints import CHECKPOINT
from avfusion.training.logger import NullLogger
from avfusion.training.loop import FusionTraining

OPTIONS = {"epochs": 3, "schedule": "plateau", "options": {"encoder_width": 32}}


def size_of_checkpoint(training: Callable[..., FusionTraining], folder: Path) -> int:
    training(folder=folder, **OPTIONS | {"epochs": 1}).fit()
    return (folder / CHECKPOINT).stat().st_size


def test_the_last_checkpoint_stays_and_training_goes_on_with_the_same_bits(
    training: Callable[..., FusionTraining], disk: Callable[[Path, int], Callable[[int], None]], tmp_path: Path
) -> None:
    whole = training(**OPTIONS).fit()
    size = size_of_checkpoint(training, tmp_path / "other")
    folder = tmp_path / "disk"
    enlarge = disk(folder, int(1.5 * size / 1024))  # a checkpoint is written beside the one that it replaces
    with pytest.raises(OSError, match="No space left on device") as caught:
        training(folder=folder, **OPTIONS).fit()
    assert caught.value.filename == str(folder / CHECKPOINT)
    assert [path.name for path in folder.iterdir()] == [CHECKPOINT]
    assert torch.load(folder / CHECKPOINT, weights_only=True)["epoch"] == 1
    enlarge(3 * size // 1024)
    resumed = training(folder=folder, **OPTIONS).fit()
    assert resumed.history == whole.history
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[key]), key


class Limit(NullLogger):
    """From the first epoch on the system lets no file of this process grow to a checkpoint's size."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def log_metrics(self, *arguments: object, **options: object) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def test_another_refusal_than_a_full_disk_is_told_in_the_systems_words(
    training: Callable[..., FusionTraining], tmp_path: Path
) -> None:
    size = size_of_checkpoint(training, tmp_path / "other")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            training(folder=tmp_path, **OPTIONS).fit(Limit(size // 2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.filename == str(tmp_path / CHECKPOINT)
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["epoch"] == 1
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [CHECKPOINT]
