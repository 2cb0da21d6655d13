"""Submission files of Aff-Wild2's size: 162 test tracks, 2.7 million frames, without a sample and by a shuffled one.

Each is a process of its own, three rounds in turn; the least times, and the peak memory. Beside them the bare
operation: pandas reads the sample and writes it with five decimals, without predictions, smoothing or validation.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml

from avfusion.corpora.table import read_tracks, write_tracks
from avfusion.data.features import read_features, write_features
from avfusion.data.track_data import inputs_digest
from avfusion.fusion.model_folder import ModelFolder
from avfusion.scoring.track_predictions import TrackPredictions, write_track_predictions

TRACKS, FRAMES, ROUNDS = 162, 16_667, 3
ROOT = Path(__file__).resolve().parents[1]
BARE = """
import pandas
table = pandas.read_csv("sample.txt")
table["valence"] = table["arousal"] = 0.25
table.to_csv("bare.txt", index=False, float_format="%.5f")
"""


def write_project(root: Path) -> None:
    """What `avfusion submit` reads; frames and features of the tracks are not as long as they say."""
    sys.path.insert(0, str(ROOT))
    from tests.conftest import write_model
    from tests.planted_corpus import write_planted_corpus

    write_planted_corpus(root, tracks={"test": 1}, seconds=2)
    write_model(root / "models")
    (root / "dvc.yaml").write_text("stages: {}\n")
    (root / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    rng = np.random.default_rng(0)
    (track,) = read_tracks(root / "data/corpus/tracks.parquet")
    features = read_features(root / "data/features/test-0.safetensors")
    names = [f"video-{number:03d}" for number in range(TRACKS)]
    write_tracks(root / "data/corpus/tracks.parquet", [replace(track, track=name, frames=FRAMES) for name in names])
    known = {}
    for name in names:
        write_features(root / "data/features" / f"{name}.safetensors", features)
        shutil.copyfile(root / "data/frames/test-0.parquet", root / "data/frames" / f"{name}.parquet")
        known[name] = inputs_digest(root, replace(track, track=name))
        values = np.clip(rng.normal(0, 0.3, (FRAMES, 2)), -1, 1).astype(np.float32)
        flags, zeros = np.zeros(FRAMES, bool), np.zeros((FRAMES, 2), np.float32)
        entry = TrackPredictions(
            name,
            name,
            "test",
            zeros[:, 0],
            zeros,
            flags,
            zeros > 0,
            {"jca": values},
            features=known[name],
        )
        write_track_predictions(root / "reports/evaluate/predictions" / f"{name}.parquet", entry, "jca")
    windows = yaml.safe_load((ROOT / "params.yaml").read_text())["evaluate"]
    smoothing = {f"{target}_frames": windows[f"smoothing_{target}"] for target in ("valence", "arousal")}
    model = {"name": "jca", "digest": ModelFolder.open(root / "models/fusion").digest()}
    (root / "reports/evaluate/protocol.json").write_text(json.dumps({"model": model, "smoothing": smoothing}))
    rows = np.array([f"{name}/{frame:05d}.jpg,,\n" for name in names for frame in range(1, FRAMES + 1)])
    (root / "sample.txt").write_text("image_location,valence,arousal\n" + "".join(rng.permutation(rows)))


def measure(root: Path, *command: str) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak memory in MB of a command."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *command], cwd=root, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, command
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    """Print a line per format."""
    submit = ("-m", "avfusion.cli", "submit", "--force", "-o")
    commands = {
        "bare, pandas": ("-c", BARE),
        "abaw5, no sample": (*submit, "all.txt"),
        "abaw5, shuffled sample": (*submit, "shuffled.txt", "--sample", "sample.txt"),
        "abaw3": (*submit, "folder", "--format", "abaw3"),
    }
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        # In a process of its own: what this one has held would count as a child's peak.
        subprocess.run([sys.executable, __file__, place], check=True)
        found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in commands}
        for _ in range(ROUNDS):
            for name, command in commands.items():
                found[name].append(measure(root, *command))
    print(f"submit, {TRACKS * FRAMES / 1e6:.1f} M rows, load {os.getloadavg()[0]:.1f}")
    for name, rounds in found.items():
        wall, cpu, megabytes = (min(values) for values in zip(*rounds, strict=True))
        print(f"  {name}: {wall:.1f} s ({cpu:.1f} CPU-seconds), {megabytes:.0f} MB")


if __name__ == "__main__":
    write_project(Path(sys.argv[1])) if sys.argv[1:] else main()
