"""A corpus as the stages leave it, with features in which a signal is planted; no video is rendered."""

from pathlib import Path

import numpy as np


def write_planted_corpus(
    root: Path,
    *,
    tracks: dict[str, int] | None = None,
    seconds: float = 24,
    rates: tuple[float, ...] = (25.0,),
    fps: float | None = 25,
    stride: int = 8,
    layout: str = "clips",
    noise: float = 0.3,
    seed: int = 0,
) -> list[str]:
    """Stores of a corpus whose features hold the labels in plain sight; returns the names of its tracks.

    Arousal stands in the audio features, valence in the visual ones, each with noise; the tables, labels, frame times
    and truth files are as the stages write them, the backbones are files that nothing runs. Test tracks have no labels
    but truth.
    """
    from safetensors.numpy import save_file

    from avfusion.corpora.table import Track, write_tracks
    from avfusion.data.feature_spec import (
        AudioTransform,
        BackboneIdentity,
        ClipGeometry,
        FeatureSpec,
        VisualTransform,
    )
    from avfusion.data.features import FeatureTable, write_features
    from avfusion.data.frames import FrameRow, write_frames
    from avfusion.data.geometry import clip_end_ticks, clock_frames
    from avfusion.data.labels import LabelTable, write_labels
    from avfusion.runtime.fingerprints import file_digest

    backbones = root / "models" / "backbones"
    backbones.mkdir(parents=True, exist_ok=True)
    for stream in ("audio", "visual"):
        save_file({stream: np.zeros(1, np.float32)}, backbones / f"{stream}.safetensors")
        (backbones / f"{stream}.json").write_text("{}\n")
    digests = {stream: file_digest(backbones / f"{stream}.safetensors") for stream in ("audio", "visual")}
    rng = np.random.default_rng(seed)
    size = {"width": 4, "input_size": 32}
    spec = FeatureSpec(
        geometry=ClipGeometry(fps=fps),
        stride=stride,
        layout=layout,
        audio=AudioTransform(),
        visual=VisualTransform(input_size=32),
        backbones={
            "audio": BackboneIdentity(name="narrow_resnet", feature_dim=12, sha256=digests["audio"], **size),
            "visual": BackboneIdentity(name="narrow_r2plus1d", feature_dim=10, sha256=digests["visual"], **size),
        },
    )
    for name in ("labels", "frames", "features", "corpus", "raw/demo/truth"):
        (root / "data" / name).mkdir(parents=True, exist_ok=True)
    table = []
    for split, count in (tracks or {"train": 6, "val": 3, "test": 4}).items():
        for number in range(count):
            name, rate = f"{split}-{number}", rates[number % len(rates)]
            time_s = np.arange(round(seconds * rate)) / rate
            phase, speed = rng.uniform(0, 2 * np.pi, (2, 3)), rng.uniform(0.5, 2, (2, 3))
            waves = np.sin(speed[..., None] * time_s + phase[..., None]).sum(axis=1) * 0.3
            truth = np.clip(waves.T, -1, 1).astype(np.float32)
            valid = np.ones(len(time_s), bool)
            valid[:5] = False
            clock = clock_frames(time_s, fps)
            ends = clock[clip_end_ticks(len(clock), stride)]
            planted = truth[ends]
            streams = {}
            for column, (stream, width) in ((1, ("audio", 12)), (0, ("visual", 10))):
                weights = np.random.default_rng(width).normal(size=width)
                clean = planted[:, column : column + 1] * weights
                streams[stream] = (clean + noise * rng.normal(size=clean.shape)).astype(np.float16)
            present = {stream: rng.random(len(ends)) > 0.05 for stream in streams}
            features = FeatureTable(
                clip_end=(ends + 1).astype(np.int32),
                audio=streams["audio"] * present["audio"][:, None],
                visual=streams["visual"] * present["visual"][:, None],
                audio_present=present["audio"],
                visual_present=present["visual"],
                feature_spec=spec,
            )
            write_features(root / "data" / "features" / f"{name}.safetensors", features)
            rows = (FrameRow(i + 1, float(t), None, 0.0) for i, t in enumerate(time_s))
            write_frames(root / "data" / "frames" / f"{name}.parquet", rows)
            labels = np.where(valid[:, None] & (split != "test"), truth, np.nan).astype(np.float32)
            labelled = LabelTable(labels[:, 0], labels[:, 1], valid & (split != "test"))
            write_labels(labelled, root / "data" / "labels" / f"{name}.parquet")
            _write_truth(root / "data" / "raw" / "demo" / "truth" / f"{name}.parquet", truth, valid, rng)
            table.append(
                Track(
                    track=name,
                    video=name,
                    split=split,
                    video_path=f"videos/{name}.mp4",
                    crops_paths=(),
                    labels_path="",
                    video_hash=f"video of {name}",
                    crops_hash="",
                    labels_hash="",
                    frames=len(time_s),
                    fps=rate,
                    duration_s=seconds,
                    has_audio=True,
                    label_rows=len(time_s),
                    crops=0,
                    warnings=(),
                )
            )
    write_tracks(root / "data" / "corpus" / "tracks.parquet", table)
    return [track.track for track in table]


def _write_truth(path: Path, truth: np.ndarray, valid: np.ndarray, rng: np.random.Generator) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    frames = len(truth)
    columns = {"frame": np.arange(1, frames + 1, dtype=np.int32), "valid": valid}
    columns |= {name: truth[:, c] for c, name in enumerate(("valence", "arousal"))}
    for oracle, error in (("both", 0.1), ("audio", 0.4), ("visual", 0.4)):
        guess = np.clip(truth + error * rng.normal(size=truth.shape), -1, 1).astype(np.float32)
        columns |= {f"oracle_{oracle}_{name}": guess[:, c] for c, name in enumerate(("valence", "arousal"))}
    for condition in ("occluded", "pause", "burst"):
        columns[condition] = np.arange(frames) % 100 < 25
    pq.write_table(pa.table(columns), path)
