"""The rates behind the doctor's estimates (avfusion/doctor/rates.py), measured anew: CPU-seconds, one thread, minima.

Prints each beside the one in the table. Videos are a photograph that moves, 640x360; clips are random.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from skimage.data import astronaut

from avfusion.backbones.registry import Backbone
from avfusion.corpora.crops import list_crops
from avfusion.data.annotations import read_annotation
from avfusion.data.audio import write_audio
from avfusion.data.frames import encode_crop, write_frames
from avfusion.data.labels import write_labels
from avfusion.data.source_crops import source_crop_rows
from avfusion.doctor import rates
from avfusion.doctor.speed import SpeedTask, build_networks, extraction
from avfusion.fusion import build_fusion
from avfusion.fusion.inference import predict_clips
from avfusion.media.audio import read_aligned_audio
from avfusion.media.face_tracks import face_crops
from avfusion.media.faces import FaceDetector
from avfusion.params.params import Params, load_params
from avfusion.training.losses import ccc_loss

PROJECT = Path(__file__).resolve().parents[1]
FRAMES, FPS, SIZE = 100, 25, (640, 360)
ROUNDS = 4
CLIPS = {"demo": 16, "affwild2": 2}  # in a batch, by preset
OTHERS = {"demo": "narrow_resnet_frames", "affwild2": "resnet18_frames"}


def cost(work: Callable[[], object], units: float, rounds: int = ROUNDS) -> float:
    """CPU-seconds of one unit, by the cheapest round."""
    work()
    best = float("inf")
    for _ in range(rounds):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return best / units


def show(name: str, measured: float, table: float) -> None:
    """One line: measured now, in the table, ratio."""
    print(f"  {name:<34}{1e3 * measured:10.4g} ms {1e3 * table:10.4g} ms   x {measured / table:.2f}", flush=True)


def write_video(path: Path) -> None:
    """A face in a moving picture with some noise, and noise to hear, in stereo."""
    width, height = SIZE
    face, noise = cv2.resize(astronaut(), (height, height)), np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast"})
        video.width, video.height = SIZE
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=44100, layout="stereo")
        for index in range(FRAMES):
            picture = np.full((height, width, 3), 90, np.int16)
            left = (width - height) // 2 + int(40 * np.sin(index / 9))
            picture[:, left : left + height] = face
            picture = np.clip(picture + noise.integers(-6, 6, picture.shape), 0, 255).astype(np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode())
        for start in range(0, FRAMES * 44100 // FPS, 1024):
            sound = noise.normal(0, 0.1, (2, 1024)).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(sound, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = 44100, start
            container.mux(audio.encode(frame))
        container.mux(audio.encode())


def media_rates(folder: Path) -> None:
    """What frames, crops, labels and sound cost."""
    video = folder / "video.mp4"
    write_video(video)
    crops = [crop.rgb for crop in face_crops(video) if crop.rgb is not None]
    detector, picture = FaceDetector(), cv2.resize(astronaut(), SIZE)
    detection = cost(lambda: detector.detect(picture), 1)
    show("DETECTION", detection, rates.DETECTION)
    whole = cost(lambda: [encode_crop(crop.rgb, 95) for crop in face_crops(video) if crop.rgb is not None], FRAMES)
    show("FRAME_OF_DETECTION", whole - detection / 5, rates.FRAME_OF_DETECTION)
    ready = folder / "crops"
    ready.mkdir()
    for number, crop in enumerate(crops, 1):
        (ready / f"{number:05d}.jpg").write_bytes(encode_crop(crop, 95))
    times, table = np.arange(len(crops)) / FPS, folder / "frames.parquet"
    rows = cost(lambda: write_frames(table, source_crop_rows([ready], times, jpeg_quality=95)), len(crops))
    show("READY_CROP", rows, rates.READY_CROP)
    show("CROP_NAME", cost(lambda: list_crops([ready]), len(crops)), rates.CROP_NAME)
    labels = folder / "labels.txt"
    labels.write_text("valence,arousal\n" + "0.123,-0.456\n" * 4500)
    row = cost(lambda: write_labels(read_annotation(labels), folder / "labels.parquet"), 4500)
    show("LABEL_ROW", row, rates.LABEL_ROW)

    def sound() -> None:
        samples = read_aligned_audio(video)
        assert samples is not None
        write_audio(folder / "sound.wav", samples)

    show("SOUND_SECOND", cost(sound, FRAMES / FPS), rates.SOUND_SECOND)


def other_backbones(params: Params, visual: str, audio: str) -> Params:
    """The preset with networks of other names, of its widths and sizes."""
    names = {"visual": visual, "audio": audio}
    streams = {
        stream: getattr(params.backbones, stream).model_copy(update={"name": name}) for stream, name in names.items()
    }
    return params.replaced(backbones=params.backbones.model_copy(update=streams))


def backbone_rates(params: Params, clips: int) -> None:
    """Features and training of both streams' backbones."""
    task = SpeedTask(params, None, 1, (), "cpu", 0.0)
    networks = build_networks(task)
    for stream, network in networks.items():
        table = rates.BACKBONES[network.name]
        for dtype in ("float32", "bfloat16"):
            measured = cost(extraction(task, networks, dtype, stream, clips), clips)
            show(f"{network.name} {dtype}", measured, getattr(table, dtype))
        if network.stream == "visual":
            measured = cost(extraction(task, networks, "float16", stream, 1), 1, rounds=1)
            show(f"{network.name} float16", measured, table.float16)
        show(f"{network.name} training", training_rate(network, clips), table.training)


def training_rate(network: Backbone, clips: int) -> float:
    """A step forward and back with its optimiser, per clip."""
    shape = (
        (3, 8, network.input_size, network.input_size) if network.stream == "visual" else (1, network.input_size, 125)
    )
    batch = torch.randn(clips, *shape)
    optimiser = torch.optim.AdamW(network.parameters())
    network.train()

    def step() -> None:
        optimiser.zero_grad()
        features = network(batch)
        network.head(features.flatten(2).mean(2) if features.ndim == 4 else features).sum().backward()
        optimiser.step()

    return cost(step, clips)


def fusion_rates() -> None:
    """A training step and a prediction of every fusion model of the table."""
    batch, length, clips = 64, 16, 600
    audio, visual = torch.randn(batch, length, 512), torch.randn(batch, length, 512)
    targets, valid = torch.rand(batch, length, 2), torch.ones(batch, length, dtype=torch.bool)
    features, present = torch.randn(clips, 512), torch.ones(clips, dtype=torch.bool)
    for name, table in rates.FUSION.items():
        model = build_fusion(name)
        optimiser = torch.optim.Adam(model.parameters())

        def step(model: torch.nn.Module = model, optimiser: torch.optim.Optimizer = optimiser) -> None:
            optimiser.zero_grad()
            ccc_loss(model(audio, visual).predictions, targets, valid).backward()
            optimiser.step()

        def predict(model: torch.nn.Module = model) -> None:
            predict_clips(model, features, features, present, present, stride=8)  # type: ignore[arg-type]

        show(f"{name} sequence", cost(step, batch), table.sequence)
        show(f"{name} clip", cost(predict, clips), table.clip)


def main() -> None:
    """Print all but PROBE_FRAME (bench_scan_scale.py), RENDER_FRAME and EVALUATED_FRAME (the times of `make demo`)."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    print(f"{rates.MEASURED_ON}; now (load {os.getloadavg()[0]:.1f}), in the table, ratio")
    with tempfile.TemporaryDirectory(prefix="avfusion-rates-") as folder:
        media_rates(Path(folder))
    for preset, clips in CLIPS.items():
        params = load_params(PROJECT / "avfusion" / "params" / "presets" / f"{preset}.yaml")
        backbone_rates(params, clips)
        backbone_rates(other_backbones(params, OTHERS[preset], "log_mel_statistics"), clips)
    fusion_rates()


if __name__ == "__main__":
    main()
