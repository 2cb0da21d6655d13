"""Training that several processes share: their steps are those of one process, and one of them writes."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from avfusion.backbones.registry import build_backbone
from avfusion.backbones.settings import BackboneSettings
from avfusion.corpora.table import write_tracks
from avfusion.data.clips.sound import SoundClips
from avfusion.data.feature_spec import AudioTransform, ClipGeometry
from avfusion.params.params import load_params
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.training.audio_backbone import audio_preparation
from avfusion.training.backbones import BackboneTrainer
from avfusion.training.batch_norm import synchronise_statistics
from avfusion.training.processes import Processes

ROOT = Path(__file__).parents[2]
STAGE = ROOT / "pipelines" / "backbones.py"
SECTIONS = ("common", "geometry", "audio", "backbones")


def start(folder: Path, *command: str, processes: int = 1) -> subprocess.CompletedProcess:
    """Run a Python script in `folder`, through torchrun where it is for several processes."""
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--rdzv-backend", "c10d"]
    torchrun += ["--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1"]  # port 0: a free one
    return subprocess.run(
        [sys.executable, *(torchrun if processes > 1 else []), *command],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "DVC_ROOT": str(folder), "GLOO_SOCKET_IFNAME": "lo"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
def test_gradients_of_a_shared_step_are_those_of_one_process(tmp_path):
    done = start(ROOT, str(Path(__file__).with_name("shared_step.py")), str(tmp_path), processes=2)
    assert done.returncode == 0, done.stdout
    for rank in range(2):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert found["count"] == 2
        assert found["predictions"] < 1e-5
        assert found["gradients"] < 1e-4
        assert found["sum"] == [3.0, 3.0]
        assert found["leader"] == "rank 0"


@pytest.fixture
def workspace(project):
    """A project whose stage `backbones` takes 20 steps of each stream, without anything that is drawn."""
    root, tracks, sections = project
    (root / "data" / "corpus").mkdir()
    write_tracks(root / "data" / "corpus" / "tracks.parquet", tracks)
    (root / "dvc.yaml").touch()
    sections["backbones"] |= {"batch_norm": "frozen", "augmentation": False}
    for stream in ("visual", "audio"):
        # 15 clips: 8 and 7. One step an epoch, so that the history has the loss of every step.
        settings = {"epochs": 20, "steps_per_epoch": 1, "batch_size": 15, "dropout": 0.0, "patience": 20, "lr": 1e-4}
        sections["backbones"][stream] |= settings
    write_params(root, sections)
    return root, sections


def write_params(root: Path, sections: dict) -> None:
    (root / "params.yaml").write_text(yaml.safe_dump(sections))
    load_params(root / "params.yaml", SECTIONS)


def read_history(root: Path) -> dict[str, np.ndarray]:
    with (root / "reports" / "backbones" / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def test_two_processes_give_the_loss_curve_of_one(workspace):
    root, _ = workspace
    done = start(root, str(STAGE), processes=2)
    assert done.returncode == 0, done.stdout
    for stream in ("visual", "audio"):
        assert done.stdout.count(f"{stream} backbone: epoch 20: ") == 1
        assert f"warning: {stream} backbone: backbones.batch_norm is frozen, but its weights are random" in done.stdout
    assert done.stdout.count("backbones: ") == 1  # the time that the stage took
    shared = read_history(root)
    record = json.loads((root / "models" / "backbones" / "visual.json").read_text())
    assert record["provenance"]["processes"] == 2
    written = {path.name: path.read_bytes() for path in (root / "models" / "backbones").iterdir()}

    # One process finds the training finished, as `dvc repro` would, and writes the same files.
    done = start(root, str(STAGE))
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("trained already, 20 epochs") == 2
    assert {path.name: path.read_bytes() for path in (root / "models" / "backbones").iterdir()} == written

    for path in (root / "models" / "backbones").iterdir():
        path.unlink()
    assert start(root, str(STAGE)).returncode == 0
    alone = read_history(root)
    for stream in ("visual", "audio"):
        for name in ("train_loss", "train_ccc_valence", "val_ccc_valence", "val_ccc_arousal"):
            column = f"{stream}_{name}"
            assert len(alone[column]) == 20
            assert shared[column] == pytest.approx(alone[column], abs=1e-4), column
    losses = alone["visual_train_loss"]
    assert losses[-5:].mean() < losses[:5].mean() - 0.05  # it learns, so that wrong steps would show


def test_statistics_of_shared_batches_concern_networks_that_have_some():
    pair = Processes(rank=0, count=2)
    with pytest.raises(BadInputError, match="2 processes share are synchronised on GPUs only"):
        synchronise_statistics(build_backbone("narrow_resnet", stream="audio", width=4), pair)
    synchronise_statistics(build_backbone("narrow_resnet", stream="audio", width=4), Processes())
    synchronise_statistics(build_backbone("log_mel_statistics", stream="audio"), pair)


def test_batches_too_small_to_be_shared_are_named(track_maker):
    clips = SoundClips([track_maker("a", 1)], ClipGeometry(fps=25), AudioTransform())
    params = BackboneSettings(name="log_mel_statistics", batch_size=6)
    backbone = build_backbone("log_mel_statistics", stream="audio")
    trainer = BackboneTrainer(
        backbone, audio_preparation(AudioTransform()), clips, clips, params, processes=Processes(count=4)
    )
    with pytest.raises(AVFusionError, match=r"batches of 3 clips .* 4 processes: .*audio\.batch_size to 8 or more"):
        trainer.fit()


def test_shares_are_a_partition_in_order():
    batch = np.array([5, 3, 9, 1, 7])
    shares = [Processes(rank, 3).share(batch).tolist() for rank in range(3)]
    assert shares == [[5, 3], [9, 1], [7]]
