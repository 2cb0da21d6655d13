"""The stage `features` end to end (JPEG in, safetensors out) against the bare forward of its backbones.

Both in the same arithmetic, in turn, five rounds, ratio of the minima: of wall time, and of CPU time (on a busy machine
the better guide, though it does not show that loading runs beside computing). One worker, on the GPU where there is
one. The bare networks get random batches of the same shape that lie on the device already, channels last; `folded` are
the same networks with their batch norms folded into convolutions, as extraction runs them. Also: floating-point
operations a second as a share of a large matrix product's, the time for all of Aff-Wild2, the pixels that are moved for
a clip at stride 1, and the memory of a corpus of 2 tracks and of 10.

The limit holds for the paper's backbones. The demo's narrow ones take about 2 ms a clip, and its spectrogram and JPEGs
another 1.2 ms on the same core: what they reach is printed, beside no limit.
"""

import itertools
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from skimage.data import astronaut
from torch.utils.flop_counter import FlopCounterMode

from avfusion.backbones import extraction
from avfusion.backbones.extraction import FeatureExtractor, torch_threads
from avfusion.backbones.feature_files import STREAMS, FeatureTask, feature_spec, make_feature_file, update_features
from avfusion.backbones.frozen import arithmetic, freeze, memory_format
from avfusion.backbones.registry import Backbone, build_backbone
from avfusion.backbones.weights import load_backbone, read_backbone_record, save_backbone
from avfusion.corpora.table import Track
from avfusion.data.audio import write_audio
from avfusion.data.frames import CROP_SIZE, FrameRow, encode_crop, write_frames
from avfusion.params.params import Params, load_params

PROJECT = Path(__file__).resolve().parents[1]
ROUNDS, FPS, RATE = 5, 25, 44100
AFF_WILD2 = 2_700_000  # frames: clips at stride 1
LIMIT = {"cpu": 0.9, "cuda": 0.85}
MOVED_LIMIT, GROWTH_LIMIT_MB = 0.13, 50
SPECTROGRAM_FRAMES = 125  # of a clip of 32 frames at 25 fps


@dataclass(frozen=True)
class Case:
    """One comparison: a preset's backbones, their arithmetic, threads, clips in a batch, batches, and the stride."""

    preset: str
    dtype: str
    threads: int
    batch: int
    batches: int
    stride: int


def cases(device: str) -> list[Case]:
    """Narrow and paper-sized, at what the device can do in minutes."""
    if device == "cuda":
        pairs = itertools.product(("demo", "affwild2"), ("float32", "bfloat16", "float16"), (1, 8))
        return [Case(preset, dtype, 1, 64, 16, stride) for preset, dtype, stride in pairs]
    cores = os.cpu_count() or 1
    narrow = [Case("demo", dtype, 1, 32, 8, stride) for dtype in ("float32", "bfloat16") for stride in (1, 8)]
    return narrow + [Case("affwild2", dtype, cores, 4, 4, 8) for dtype in ("float32", "bfloat16")]


def case_params(case: Case) -> Params:
    """The preset's parameters with the case's settings."""
    params = load_params(PROJECT / "avfusion" / "params" / "presets" / f"{case.preset}.yaml")
    settings = {"dtype": case.dtype, "threads": case.threads, "batch_size": case.batch, "stride": case.stride}
    return params.replaced(features=params.features.model_copy(update=settings))


def make_project(root: Path, params: Params, tracks: int, frames: int) -> list[Track]:
    """Stores of tracks of a face that moves, and noise to hear; backbones of random weights."""
    face = cv2.cvtColor(astronaut()[30:254, 110:334], cv2.COLOR_RGB2BGR)
    face = cv2.cvtColor(cv2.resize(face, (CROP_SIZE, CROP_SIZE), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)
    jpegs = [encode_crop(np.roll(face, shift, axis=1), 95) for shift in range(8)]
    noise = np.random.default_rng(0).normal(0, 0.1, frames * RATE // FPS).astype(np.float32)
    for folder in ("frames", "audio"):
        (root / "data" / folder).mkdir(parents=True)
    for number in range(tracks):
        rows = (FrameRow(n + 1, n / FPS, jpegs[n % 8], 1.0) for n in range(frames))
        write_frames(root / "data" / "frames" / f"{number}.parquet", rows)
        write_audio(root / "data" / "audio" / f"{number}.wav", noise)
    for stream in STREAMS:
        wanted = getattr(params.backbones, stream)
        backbone = build_backbone(wanted.name, stream=stream, width=wanted.width, input_size=wanted.input_size)
        save_backbone(root / "models" / "backbones", backbone)
    seconds = frames / FPS
    return [
        Track(str(n), str(n), "train", "", (), "", "", "", "", frames, FPS, seconds, True, 0, frames, ())
        for n in range(tracks)
    ]


def bare_batches(root: Path, case: Case, device: torch.device) -> dict[str, tuple[Backbone, torch.Tensor]]:
    """Each stream's backbone in float32, and a batch for it in the case's arithmetic, on the device."""
    found = {}
    for stream in STREAMS:
        backbone = load_backbone(root / "models" / "backbones", stream)[0].to(device).eval()
        size = backbone.input_size
        shape = (3, 8, size, size) if stream == "visual" else (1, size, SPECTROGRAM_FRAMES)
        batch = torch.randn(case.batch, *shape, device=device).to(arithmetic(case.dtype, device))
        found[stream] = backbone, batch.contiguous(memory_format=memory_format(stream))
    return found


def forward(networks: list[tuple[torch.nn.Module, torch.Tensor]], case: Case, device: torch.device) -> None:
    """Every batch of the case through both networks."""
    with torch_threads(case.threads), torch.inference_mode():
        for _ in range(case.batches):
            for network, batch in networks:
                network(batch)
    if device.type == "cuda":
        torch.cuda.synchronize()


def matmul_rate(dtype: torch.dtype, threads: int, device: torch.device) -> float:
    """Floating-point operations a second of a large square matrix product."""
    size = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    with torch_threads(threads):
        for _ in range(ROUNDS):
            started = time.perf_counter()
            product = a @ b
            float(product[0, 0])  # waits for a GPU
            best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def compare(case: Case, device: torch.device) -> bool:
    """Measure and print one case; whether it kept the limit."""
    params, dtype = case_params(case), arithmetic(case.dtype, device)
    with tempfile.TemporaryDirectory(prefix="avfusion-bench-") as folder:
        root = Path(folder)
        clips = case.batch * case.batches
        make_project(root, params, 1, 1 + case.stride * (clips - 1))
        backbones = root / "models" / "backbones"
        spec = feature_spec(params, {stream: read_backbone_record(backbones, stream) for stream in STREAMS})
        frames, sound = root / "data" / "frames" / "0.parquet", root / "data" / "audio" / "0.wav"
        task = FeatureTask("0", frames, sound, backbones, spec.model_dump_json(), device=device.type)
        plain, folded = [], []
        operations = 0
        for stream, (backbone, batch) in bare_batches(root, case, device).items():
            folded.append((freeze(backbone, device, dtype), batch))
            with FlopCounterMode(display=False) as counter, torch.inference_mode():
                backbone(batch[:1].float())
            operations += counter.get_total_flops()
            network = backbone.to(dtype)
            plain.append((network.to(memory_format=memory_format(stream)), batch))  # type: ignore[call-overload]
        sides: dict[str, Callable[[], None]] = {
            "features": lambda: make_feature_file(task, root / "0.safetensors", ""),
            "bare": lambda: forward(plain, case, device),
            "folded": lambda: forward(folded, case, device),
        }
        best, cpu = (dict.fromkeys(sides, float("inf")) for _ in range(2))
        for number in range(ROUNDS + 1):  # the first one takes memory, loads weights, chooses kernels
            for name, work in sides.items():
                started, used = time.perf_counter(), time.process_time()
                work()
                if number:
                    best[name] = min(best[name], time.perf_counter() - started)
                    cpu[name] = min(cpu[name], time.process_time() - used)
    rate, ratio = clips / best["features"], best["bare"] / best["features"]
    share = rate * operations / matmul_rate(dtype, case.threads, device)
    print(
        f"{case.preset} {case.dtype}, {case.threads} threads, batches of {case.batch}, stride {case.stride}: "
        f"{rate:.2f} clips/s, bare {clips / best['bare']:.2f}, folded {clips / best['folded']:.2f}; "
        f"features / bare {ratio:.2f}, / folded {best['folded'] / best['features']:.2f}; "
        f"CPU ms a clip {1e3 * cpu['features'] / clips:.2f}, bare {1e3 * cpu['bare'] / clips:.2f}, "
        f"folded {1e3 * cpu['folded'] / clips:.2f}; "
        f"{100 * share:.0f} % of a matrix product's rate; "
        f"Aff-Wild2 at stride 1: {AFF_WILD2 / rate / 3600:.1f} h (load {os.getloadavg()[0]:.1f})",
        flush=True,
    )
    return case.preset == "demo" or ratio >= LIMIT[device.type]


def moved_share(device: torch.device) -> float:
    """Pixels moved to the device for a clip at stride 1, over those of its eight crops."""
    case = Case("demo", "float32", 1, 32, 8, 1)
    params, moved, move = case_params(case), [], extraction.to_device

    def counting(values: np.ndarray, to: torch.device) -> torch.Tensor:
        if values.dtype == np.uint8:
            moved.append(values.size)
        return move(values, to)

    extraction.to_device = counting
    try:
        with tempfile.TemporaryDirectory(prefix="avfusion-bench-") as folder:
            root, clips = Path(folder), case.batch * case.batches
            make_project(root, params, 1, clips)
            backbones = root / "models" / "backbones"
            networks = {stream: load_backbone(backbones, stream)[0] for stream in STREAMS}
            spec = feature_spec(params, {stream: read_backbone_record(backbones, stream) for stream in STREAMS})
            extractor = FeatureExtractor(networks["visual"], networks["audio"], spec, device=device.type)
            jpegs = [encode_crop(np.zeros((CROP_SIZE, CROP_SIZE, 3), np.uint8), 95)] * clips
            extractor.visual_clips(jpegs, np.arange(clips))
    finally:
        extraction.to_device = move
    return sum(moved) / (clips * 8 * spec.visual.input_size**2 * 3)


def corpus_peak_mb(tracks: int) -> float:
    """Peak of resident memory while the features of so many tracks are made one after the other; in a new process."""
    import resource

    params = case_params(Case("demo", "float32", 1, 32, 1, 8))
    serial = params.execution.model_copy(update={"executor": "serial"})
    with tempfile.TemporaryDirectory(prefix="avfusion-bench-") as folder:
        made = make_project(Path(folder), params, tracks, 1500)
        update_features(Path(folder), made, params.replaced(execution=serial))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print every comparison (or those of the presets named as arguments); exit 1 where a limit was not kept."""
    cv2.setNumThreads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    wanted = sys.argv[1:] or ["demo", "affwild2"]
    card = torch.cuda.get_device_name() if device.type == "cuda" else f"{os.cpu_count()} cores"
    print(f"{device.type} ({card}), torch {torch.__version__}")
    kept = [compare(case, device) for case in cases(device.type) if case.preset in wanted]
    share = moved_share(device)
    peaks = []
    for tracks in (2, 10):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            peaks.append(process.submit(corpus_peak_mb, tracks).result())
    print(f"pixels moved per clip at stride 1: {share:.3f} of its eight crops; limit {MOVED_LIMIT}")
    print(f"peak memory: {peaks[0]:.0f} MB with 2 tracks, {peaks[1]:.0f} MB with 10; limit {GROWTH_LIMIT_MB} MB more")
    failed = not all(kept) or share > MOVED_LIMIT or peaks[1] - peaks[0] > GROWTH_LIMIT_MB
    print(f"limit: {LIMIT[device.type]} of the bare forward of the paper's backbones: {'FAILED' if failed else 'kept'}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
