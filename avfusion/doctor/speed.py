"""One worker's part of a tuning: time the extraction of features of random clips, as the stage `features` does."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avfusion.backbones.extraction import FeatureExtractor, torch_threads
from avfusion.backbones.feature_files import audio_transform, clip_geometry
from avfusion.backbones.registry import Backbone, build_backbone, visual_transform
from avfusion.backbones.weights import load_backbone
from avfusion.data.feature_spec import BackboneIdentity, FeatureSpec
from avfusion.data.frames import CROP_SIZE, encode_crop
from avfusion.params.params import Params
from avfusion.runtime.errors import AVFusionError

ROUNDS = 3  # of each measurement, at least
READY_S = 300.0  # for all workers to be ready
FPS = 25  # frame rate of the random video
COMPARED = 2  # clips whose features are compared with float32's


@dataclass(frozen=True)
class SpeedTask:
    """The measurements of a worker.

    Attributes:
        params: Sections geometry, audio, backbones and features.
        backbones: Folder of trained weights; None: random weights.
        dtypes: Arithmetic, in the order of measuring.
        seconds: Least total time of the rounds of a measurement.
        start: Synchronises the workers before each measurement; None: a single worker.
    """

    params: Params
    backbones: Path | None
    threads: int
    dtypes: tuple[str, ...]
    device: str
    seconds: float
    start: "CommonStart | None" = None


@dataclass(frozen=True)
class CommonStart:
    """Lets workers begin at the same moment: each writes a file into a folder and starts when all have.

    Attributes:
        folder: Empty at the beginning.
        workers: Number of workers.
    """

    folder: Path
    workers: int

    def wait(self, name: str, within_s: float) -> None:
        """Wait for the others before measurement `name`.

        Raises:
            AVFusionError: another worker failed, or is not ready in time.
        """
        (self.folder / f"{name}.{os.getpid()}").touch()
        until = time.monotonic() + within_s
        while len(list(self.folder.glob(f"{name}.*"))) < self.workers:
            if (self.folder / "failed").exists() or time.monotonic() > until:
                raise AVFusionError("another worker failed, or was not ready in time")
            time.sleep(0.002)

    def abort(self) -> None:
        """Tell the others not to wait for this worker."""
        (self.folder / "failed").touch()


@dataclass(frozen=True)
class StreamSpeed:
    """Clips per second of one stream; differences of its features from float32: greatest, and RMS over their spread."""

    clips_per_s: float
    difference: float
    relative: float


def measure_speed(task: SpeedTask) -> dict[str, dict[str, StreamSpeed]]:
    """Speeds by arithmetic and stream."""
    try:
        with torch_threads(task.threads):
            networks = build_networks(task)
            return {
                dtype: {stream: _stream_speed(task, networks, dtype, stream) for stream in networks}
                for dtype in task.dtypes
            }
    except BaseException:
        if task.start is not None:
            task.start.abort()  # so that the others do not wait for this worker
        raise


def _stream_speed(task: SpeedTask, networks: dict[str, Backbone], dtype: str, stream: str) -> StreamSpeed:
    expected, features = (extraction(task, networks, kind, stream, COMPARED)() for kind in ("float32", dtype))
    once = _best_seconds(extraction(task, networks, dtype, stream, 1), rounds=1)
    clips = int(np.clip(task.seconds / ROUNDS / once, 1, task.params.features.batch_size))
    work = extraction(task, networks, dtype, stream, clips)
    work()  # takes its memory
    if task.start is not None:
        task.start.wait(f"{dtype}-{stream}", READY_S)
    seconds = _best_seconds(work, rounds=ROUNDS, at_least_s=task.seconds)
    difference = np.abs(features - expected)
    relative = float(np.sqrt((difference**2).mean())) / (float(expected.std()) or 1.0)
    return StreamSpeed(clips / seconds, float(difference.max()), relative)


def _best_seconds(work: Callable[[], object], *, rounds: int, at_least_s: float = 0.0) -> float:
    """Seconds of the fastest round, of at least `rounds` rounds and `at_least_s` seconds."""
    best, spent, done = float("inf"), 0.0, 0
    while done < rounds or spent < at_least_s:
        started = time.perf_counter()
        work()
        seconds = time.perf_counter() - started
        best, spent, done = min(best, seconds), spent + seconds, done + 1
    return best


def extraction(
    task: SpeedTask, networks: dict[str, Backbone], dtype: str, stream: str, clips: int
) -> Callable[[], np.ndarray]:
    """A function that extracts one batch of random clips of a stream: features (clips, D)."""
    extractor = FeatureExtractor(
        networks["visual"], networks["audio"], _spec(task.params, networks, dtype, clips), device=task.device
    )
    clip_frames, stride = task.params.geometry.clip_frames, task.params.features.stride
    ends = clip_frames - 1 + stride * np.arange(clips)
    random = np.random.default_rng(0)
    if stream == "visual":
        small = random.integers(0, 256, (CROP_SIZE // 8, CROP_SIZE // 8, 3), dtype=np.uint8)
        crops = [np.roll(small, n, axis=0).repeat(8, axis=0).repeat(8, axis=1) for n in range(int(ends[-1]) + 1)]
        jpegs = [encode_crop(crop, 95) for crop in crops]
        return lambda: extractor.visual_clips(jpegs, ends)[0]
    rate = task.params.audio.sample_rate
    spans = np.stack([ends - clip_frames + 1, ends], axis=1) * rate // FPS
    if task.params.audio.window_s:
        spans[:, 0] = np.maximum(spans[:, 1] - round(task.params.audio.window_s * rate), 0)
    sound = random.normal(0, 0.1, int(spans.max()) + 1).astype(np.float32)
    return lambda: extractor.audio_clips(sound, spans)[0]


def build_networks(task: SpeedTask) -> dict[str, Backbone]:
    """Both streams' backbones as configured: trained, or with random weights."""
    networks = {}
    for stream in ("visual", "audio"):
        output = task.params.backbones.output if stream == "visual" else "pooled"
        wanted = task.params.backbones.visual if stream == "visual" else task.params.backbones.audio
        if task.backbones is not None:
            networks[stream] = load_backbone(task.backbones, stream, output=output)[0]
        else:
            networks[stream] = build_backbone(
                wanted.name, stream=stream, width=wanted.width, input_size=wanted.input_size, output=output
            )
    return networks


def _spec(params: Params, networks: dict[str, Backbone], dtype: str, clips: int) -> FeatureSpec:
    identities = {
        stream: BackboneIdentity(
            name=network.name,
            width=network.width,
            input_size=network.input_size,
            feature_dim=network.feature_dim,
            sha256="",
        )
        for stream, network in networks.items()
    }
    return FeatureSpec.model_validate(
        {
            "geometry": clip_geometry(params),
            "stride": params.features.stride,
            "audio": audio_transform(params, networks["audio"].input_size),
            "visual": visual_transform(networks["visual"].name, networks["visual"].input_size),
            "backbones": identities,
            "output": params.backbones.output,
            "dtype": dtype,
            "batch_size": clips,
        }
    )
