"""`Predictor.predict` at stride 8 against the sum of its bare parts, and what `avfusion predict` needs to start.

The bare parts: PyAV decodes every frame and the sound once, the detector looks at every fifth frame, both backbones run
on ready tensors of all clips, the fusion model on ready features. `predict` also reads the timeline, follows and aligns
faces, decodes a second time to cut crops, keeps crops and sound in files, and makes spectrograms. Thirty seconds at
640x360 with the demo's narrow backbones, where what surrounds them weighs most. Both in turn, 5 rounds, the ratio of
the minima of their wall time. It must be at most 1.2, and starting must take less than 1 s beyond importing torch.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from skimage.data import astronaut

from avfusion import Predictor
from avfusion.backbones.extraction import torch_threads
from avfusion.backbones.registry import build_backbone
from avfusion.backbones.weights import save_backbone
from avfusion.data.feature_spec import AudioTransform, ClipGeometry, FeatureSpec, VisualTransform
from avfusion.fusion import build_fusion
from avfusion.fusion.files import save_fusion
from avfusion.fusion.inference import predict_clips
from avfusion.media.faces import FaceDetector

SECONDS, FPS, SIZE, STRIDE, ROUNDS = 30, 25, (640, 360), 8, 5
BACKBONES = {"visual": ("narrow_r2plus1d", 8, 56), "audio": ("narrow_resnet", 16, 64)}  # of the demo
LIMIT, START_LIMIT_S = 1.2, 1.0


def make_video(path: Path) -> None:
    """A face in a moving picture with some noise, and noise to hear."""
    width, height = SIZE
    face, noise = cv2.resize(astronaut(), (height, height)), np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        audio = container.add_stream("aac", rate=44100, layout="stereo")
        for index in range(SECONDS * FPS):
            picture = np.full((height, width, 3), 90, np.int16)
            left = (width - height) // 2 + int(40 * np.sin(index / 9))
            picture[:, left : left + height] = face
            picture = np.clip(picture + noise.integers(-6, 6, picture.shape, np.int16), 0, 255).astype(np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(video.encode())
        for start in range(0, SECONDS * 44100, 1024):
            sound = av.AudioFrame.from_ndarray(noise.normal(0, 0.1, (2, 1024)).astype(np.float32), "fltp", "stereo")
            sound.sample_rate, sound.pts = 44100, start
            container.mux(audio.encode(sound))
        container.mux(audio.encode())


def make_model(folder: Path) -> None:
    """The demo's backbones and fusion model, with random weights."""
    identities = {}
    for stream, (name, width, size) in BACKBONES.items():
        network = build_backbone(name, stream=stream, width=width, input_size=size)
        identities[stream] = save_backbone(folder / "backbones", network).identity
    spec = FeatureSpec(
        geometry=ClipGeometry(fps=FPS),
        stride=STRIDE,
        audio=AudioTransform(),
        visual=VisualTransform(input_size=BACKBONES["visual"][2]),
        backbones=identities,
    )
    dimensions = {f"{stream}_dim": identity.feature_dim for stream, identity in identities.items()}
    save_fusion(folder / "fusion", build_fusion("jca", length=16, **dimensions), {"feature_spec": spec.to_dict()})


def decode(video: Path) -> list[np.ndarray]:
    """Every frame as RGB, and the sound; gives the frames that the detector is to look at."""
    kept = []
    with av.open(str(video)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            picture = frame.to_ndarray(format="rgb24")
            if index % 5 == 0:
                kept.append(picture)
    with av.open(str(video)) as container:
        for piece in container.decode(audio=0):
            piece.to_ndarray()
    return kept


def run_backbones(predictor: Predictor) -> None:
    """All clips in batches of the spec."""
    spec, clips = predictor.spec, -(-SECONDS * FPS // STRIDE)
    size = BACKBONES["visual"][2]
    inputs = {"visual": torch.randn(32, 3, 8, size, size), "audio": torch.randn(32, 1, 64, 124)}
    with torch.inference_mode(), torch_threads(spec.threads):
        for stream, values in inputs.items():
            for _ in range(-(-clips // spec.batch_size)):
                predictor._extractor._networks[stream](values)


def run_fusion(predictor: Predictor) -> None:
    """All clips, by overlapping sequences."""
    clips = -(-SECONDS * FPS // STRIDE)
    dims = [predictor.spec.backbones[stream].feature_dim for stream in ("audio", "visual")]
    features, present = [torch.randn(clips, dim) for dim in dims], torch.ones(clips, dtype=torch.bool)
    predict_clips(predictor._model, *features, present, present, stride=STRIDE)


def seconds(work: Callable[[], object]) -> float:
    """Wall time."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def start_s(code: str) -> float:
    """The least time of three of a new interpreter that runs `code`."""
    command = [sys.executable, "-c", code]
    return min(seconds(lambda: subprocess.run(command, check=True, capture_output=True)) for _ in range(3))


def main() -> None:
    """Print every part, the ratio and the start; exit 1 where a limit is passed."""
    with tempfile.TemporaryDirectory() as scratch:
        video, models = Path(scratch) / "video.mp4", Path(scratch) / "models"
        make_video(video)
        make_model(models)
        predictor, detector = Predictor.load(models), FaceDetector()
        pictures = decode(video)
        parts: dict[str, Callable[[], object]] = {
            "decode": lambda: decode(video),
            "detect": lambda: [detector.detect(picture) for picture in pictures],
            "backbones": lambda: run_backbones(predictor),
            "fusion": lambda: run_fusion(predictor),
            "predict": lambda: predictor.predict(video, stride=STRIDE),
        }
        for work in parts.values():
            work()
        rounds = [{name: seconds(work) for name, work in parts.items()} for _ in range(ROUNDS)]
        least = {name: min(one[name] for one in rounds) for name in parts}
        bare = sum(least[name] for name in parts if name != "predict")
        ratio = least["predict"] / bare
        told = ", ".join(f"{name} {value:.2f} s" for name, value in least.items())
        print(f"{told}; predict / parts {ratio:.2f} (limit {LIMIT}); load {os.getloadavg()[0]:.1f}")
        loading = f"from avfusion import Predictor; Predictor.load({str(models)!r})"
        begin = start_s(f"import torch; import avfusion.presentation.batch; {loading}") - start_s("import torch")
        print(f"start beyond importing torch {begin:.2f} s (limit {START_LIMIT_S:g} s)")
        if ratio > LIMIT or begin > START_LIMIT_S:
            sys.exit(1)


if __name__ == "__main__":
    main()
