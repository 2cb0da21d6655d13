"""One step of a training that `torchrun` shares among processes, beside the same step by one: see test_processes.py."""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from avfusion.backbones.registry import build_backbone
from avfusion.training.batch_norm import freeze_statistics
from avfusion.training.losses import ccc_loss
from avfusion.training.processes import Processes, joined_processes

CLIPS = 7  # of 2 processes: 4 and 3


def gradients(processes: Processes, clips: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, list]:
    """Predictions of all clips and the gradients of their loss, from this process's share of the clips."""
    torch.manual_seed(2)
    backbone = build_backbone("narrow_resnet", stream="audio", width=4).train()
    freeze_statistics(backbone)
    mine = processes.share(np.arange(CLIPS))
    predictions = processes.gather(backbone.head(backbone(clips[mine])), CLIPS)
    ccc_loss(predictions, targets, torch.ones(CLIPS, dtype=torch.bool)).backward()
    processes.sum_gradients(backbone.parameters())
    return predictions.detach(), [weight.grad for weight in backbone.parameters()]


def main() -> None:
    torch.set_num_threads(1)
    random = torch.Generator().manual_seed(1)
    clips, targets = torch.randn(CLIPS, 1, 64, 61, generator=random), torch.randn(CLIPS, 2, generator=random)
    with joined_processes("cpu") as processes:
        shared, ours = gradients(processes, clips, targets)
        whole, theirs = gradients(Processes(), clips, targets)
        found = {
            "count": processes.count,
            "predictions": (shared - whole).abs().max().item(),
            "gradients": max(((a - b).abs().max() / b.abs().max()).item() for a, b in zip(ours, theirs, strict=True)),
            "sum": processes.sum(np.full(2, processes.rank + 1.0, np.float32)).tolist(),
            "leader": processes.from_leader(f"rank {processes.rank}"),
        }
        Path(sys.argv[1], f"{processes.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
