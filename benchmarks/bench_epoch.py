"""An epoch of `jca` on features in Aff-Wild2's proportions against its bare steps; its validation; its memory.

Random features of 356 + 76 tracks with 2.1 million frames at stride 1, 512 + 512 wide, scaled by an argument (1: all of
it, 4.3 GB; default 0.02), are written as the stages write them and read back. In turn, at least five rounds each, the
minima: the training epoch as `fit` runs it, and only forward, backward and optimiser on as many batches that lie ready
in memory. Then validation against its bare forward passes. One thread; the peak of memory, up to the end of the first
epoch, is above what Python and its libraries take.

python benchmarks/bench_epoch.py [--scale 0.02] [--rounds 5] [--device cpu]
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from avfusion.corpora.table import Track, write_tracks
from avfusion.data.feature_spec import AudioTransform, BackboneIdentity, ClipGeometry, FeatureSpec, VisualTransform
from avfusion.data.features import FeatureTable, write_features
from avfusion.data.frames import FrameRow, write_frames
from avfusion.data.geometry import PADDING, overlap_sequences
from avfusion.data.labels import LabelTable, write_labels
from avfusion.data.settings import GeometrySettings
from avfusion.experiments.training import read_inputs
from avfusion.training.determinism import make_deterministic
from avfusion.training.loop import FusionTraining
from avfusion.training.losses import ccc_loss
from avfusion.training.precision import resolve_precision
from avfusion.training.sequences import Batch
from avfusion.training.settings import TrainSettings

TRACKS, FRAMES, WIDTH = {"train": 356, "val": 76}, 2_100_000, 512
WARM_UP = 0.003


def write_corpus(root: Path, scale: float) -> int:
    """Stores with random features and labels; returns the bytes of the features."""
    rng = np.random.default_rng(0)
    identity = {"feature_dim": WIDTH, "width": 64, "sha256": ""}
    spec = FeatureSpec(
        geometry=ClipGeometry(fps=None),
        stride=1,
        audio=AudioTransform(),
        visual=VisualTransform(),
        backbones={
            "audio": BackboneIdentity(name="resnet18", input_size=64, **identity),
            "visual": BackboneIdentity(name="r2plus1d_18", input_size=112, **identity),
        },
    )
    for name in ("features", "labels", "frames", "corpus"):
        (root / "data" / name).mkdir(parents=True)
    table, total = [], 0
    frames = round(FRAMES / sum(TRACKS.values()))
    for split, count in TRACKS.items():
        for number in range(max(1, round(count * scale))):
            name = f"{split}-{number}"
            audio, visual = (rng.standard_normal((frames, WIDTH), np.float32).astype(np.float16) for _ in range(2))
            total += audio.nbytes + visual.nbytes
            ends, present = np.arange(1, frames + 1, dtype=np.int32), np.ones(frames, bool)
            features = FeatureTable(ends, audio, visual, present, present, spec, name)
            write_features(root / "data" / "features" / f"{name}.safetensors", features)
            rows = (FrameRow(i + 1, i / 25, None, 0.0) for i in range(frames))
            write_frames(root / "data" / "frames" / f"{name}.parquet", rows)
            labels = rng.uniform(-1, 1, (2, frames)).astype(np.float32)
            write_labels(LabelTable(*labels, present), root / "data" / "labels" / f"{name}.parquet")
            table.append(Track(track=name, video=name, split=split, frames=frames, fps=25, duration_s=frames / 25,
                               has_audio=True, label_rows=frames, crops=0, warnings=(), video_path="", crops_paths=(),
                               labels_path="", video_hash=name, crops_hash="", labels_hash=""))  # fmt: skip
    write_tracks(root / "data" / "corpus" / "tracks.parquet", table)
    return total


def in_turn(sides: dict[str, Callable[[], None]], rounds: int, device: str) -> dict[str, float]:
    """Seconds of each side, the minimum over the rounds: on a CPU those of its one thread, whatever else runs there."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    best = dict.fromkeys(sides, float("inf"))
    for _ in range(rounds):
        for name, side in sides.items():
            started = clock()
            side()
            if device != "cpu":
                torch.cuda.synchronize()
            best[name] = min(best[name], clock() - started)
    return best


def prepared(
    scale: float, geometry: GeometrySettings, config: TrainSettings, device: str
) -> tuple[FusionTraining, int, int]:
    """A training that has read its features and made its model, their bytes, and the memory that was taken before."""
    with tempfile.TemporaryDirectory(prefix="avfusion-bench-") as folder:
        size = write_corpus(Path(folder), scale)
        before = memory("VmRSS", forget_peak=True)
        inputs = read_inputs(Path(folder), geometry)
    data = inputs.sequences(geometry, device)
    training = FusionTraining("jca", data, inputs.validation, config, geometry, 1, device=device, quiet=True)
    training._setup(resolve_precision(config.amp, device))
    return training, size, before


def main() -> None:
    """Print both comparisons and the memory."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scale", type=float, default=0.02)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    device = arguments.device
    make_deterministic(threads=1)
    geometry, config = GeometrySettings(), TrainSettings(epochs=1)
    prepared(WARM_UP, geometry, config, device)  # libraries that are loaded on first use are no features
    training, size, before = prepared(arguments.scale, geometry, config, device)
    data, validation = training.data, training.validation
    precision = resolve_precision(config.amp, device)
    state = training._setup(precision)
    batches: list[Batch] = []
    peaks: list[int] = []
    steps = -(-len(data) // config.batch_size)

    def epoch() -> None:
        training._train_epoch(state, precision)
        peaks.append(memory("VmHWM"))

    def bare_steps() -> None:
        if not batches:  # not before the first epoch, whose memory they would count to
            batches.extend(data.batch(rows) for rows in torch.arange(len(data)).split(config.batch_size)[:8])
        state.model.train()
        for step in range(steps):
            batch = batches[step % len(batches)]
            with torch.autocast(torch.device(device).type, dtype=precision.dtype, enabled=precision.dtype is not None):
                given = (batch.audio, batch.visual, batch.audio_present, batch.visual_present, batch.padding)
                predictions = state.model(*given).predictions
            state.optimiser.zero_grad(set_to_none=True)
            ccc_loss(predictions, batch.targets, batch.valid).backward()
            state.optimiser.step()

    def bare_validation() -> None:
        state.model.eval()
        with torch.inference_mode():
            for track in validation:
                index = torch.from_numpy(overlap_sequences(len(track.audio), 1))
                for part in index.split(256):
                    ready = batches[0]
                    repeat = -(-len(part) // len(ready.audio))
                    for _ in range(repeat):
                        state.model(ready.audio, ready.visual, ready.audio_present, ready.visual_present, ready.padding)
                    assert int((part != PADDING).sum())

    trained = in_turn({"epoch": epoch, "bare": bare_steps}, arguments.rounds, device)
    checked = in_turn(
        {"validation": lambda: training._validate(state.model) and None, "bare": bare_validation}, 2, device
    )
    peak = peaks[0]
    load = os.getloadavg()[0]
    print(f"jca, {len(data.audio)} training clips ({arguments.scale:g} of Aff-Wild2), {device}, amp {precision.name}")
    print(f"training epoch {trained['epoch']:.2f} s, bare steps {trained['bare']:.2f} s, "
          f"ratio {trained['epoch'] / trained['bare']:.3f} (at most 1.15; load {load:.1f})")  # fmt: skip
    print(f"validation {checked['validation']:.2f} s, bare forward passes {checked['bare']:.2f} s, "
          f"ratio {checked['validation'] / checked['bare']:.3f}")  # fmt: skip
    print(f"memory: features {size / 1e6:.0f} MB, peak {(peak - before) / 1e6:.0f} MB above {before / 1e6:.0f} MB, "
          f"ratio {(peak - before) / size:.2f} (at most 1.3)")  # fmt: skip


def memory(kind: str, forget_peak: bool = False) -> int:
    """Resident bytes of this process, now (VmRSS) or at most (VmHWM)."""
    if forget_peak:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) * 1024


if __name__ == "__main__":
    main()
