"""Resident memory of a training on features of a size that shows: little more than the features themselves."""

import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2]
MEASURE = """
from pathlib import Path
from types import SimpleNamespace
import numpy as np
import torch
from avfusion.data.settings import GeometrySettings
from avfusion.training.settings import TrainSettings
from avfusion.training.loop import FusionTraining
from avfusion.training.precision import resolve_precision
from avfusion.training.sequences import SequenceData

def resident(kind):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) * 1024

def trained(clips):
    rng = np.random.default_rng(0)
    tables = []
    for _ in range(2):
        table = torch.empty(clips, 512, dtype=torch.float16)
        for part in table.split(1000):
            part.copy_(torch.from_numpy(rng.standard_normal(part.shape, np.float32)))
        tables.append(table)
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    present = torch.ones(clips, dtype=torch.bool)
    index = torch.arange(clips).reshape(-1, 16)
    data = SequenceData(
        *tables, present, present, torch.from_numpy(rng.uniform(-1, 1, (clips, 2))).float(), present, index,
        torch.zeros(len(index), dtype=torch.int64), ("a",),
    )
    labelled = SimpleNamespace(valid=np.ones(1, bool))  # all that is asked of validation before it begins
    training = FusionTraining("concat", data, [labelled], TrainSettings(), GeometrySettings(), 1, quiet=True)
    precision = resolve_precision("off", "cpu")
    training._train_epoch(training._setup(precision), precision)
    return sum(table.nbytes for table in tables), resident("VmHWM") - before

torch.set_num_threads(1)
trained(1600)  # what is loaded on first use
size, more = trained(160_000)
print(size, more)
"""


@pytest.mark.slow
def test_a_training_takes_little_more_memory_than_its_features() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], cwd=SOURCE, capture_output=True, text=True, check=True
    ).stdout
    size, more = map(int, done.split())
    assert size == 160_000 * 512 * 2 * 2
    assert more <= 0.3 * size, f"{more / size:.2f} of the features' bytes beside them"
