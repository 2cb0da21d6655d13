"""Small tracks in the form of the stores: drawn faces whose mouth shows valence, a voice whose level shows arousal."""

from dataclasses import dataclass

import cv2
import numpy as np
import pytest
import torch

from avfusion.backbones.registry import build_backbone
from avfusion.corpora.table import Track
from avfusion.data.audio import write_audio
from avfusion.data.feature_spec import AudioTransform, BackboneIdentity, ClipGeometry, FeatureSpec, VisualTransform
from avfusion.data.frames import FrameRow, encode_crop, write_frames
from avfusion.data.labelled_tracks import LabelledTrack
from avfusion.data.labels import LabelTable, write_labels

RATE = 44100


def draw_face(valence: float, shade: int) -> np.ndarray:
    face = np.full((112, 112, 3), (shade, shade - 30, shade - 50), dtype=np.uint8)
    cv2.circle(face, (38, 45), 7, (20, 20, 20), -1)
    cv2.circle(face, (74, 45), 7, (20, 20, 20), -1)
    bend = round(14 * valence)
    points = np.array([[36, 82 - bend], [56, 82 + bend], [76, 82 - bend]], dtype=np.int32)
    cv2.polylines(face, [points], False, (150, 20, 20), 5)
    return face


def make_track(name: str, seed: int, frames: int = 90, fps: float = 25.0, seconds_of_sound: float | None = None):
    """A track of `frames` frames; sound lasts as long as the pictures unless told otherwise."""
    random = np.random.default_rng(seed)
    moments = np.arange(frames) / fps
    phase = random.uniform(0, 2 * np.pi, 2)
    labels = np.stack([0.8 * np.sin(2 * np.pi * moments / 3 + p) for p in phase], axis=1).astype(np.float32)
    shade = int(random.integers(140, 220))
    jpegs = [encode_crop(draw_face(float(v), shade), 90) for v in labels[:, 0]]
    length = round((frames / fps if seconds_of_sound is None else seconds_of_sound) * RATE)
    level = np.interp(np.arange(length) / RATE, moments, labels[:, 1])
    tone = np.sin(2 * np.pi * 220 * np.arange(length) / RATE) + random.normal(0, 0.3, length)
    sound = (3000 * np.exp(level) * tone).clip(-32768, 32767).astype(np.int16)
    return LabelledTrack(name, moments, labels, np.ones(frames, dtype=bool), jpegs, sound)


@dataclass
class SmallModels:
    """Narrow backbones of fixed random weights, and the spec of the features they give."""

    visual: torch.nn.Module
    audio: torch.nn.Module
    spec: FeatureSpec


def small_models(**changes) -> SmallModels:
    torch.manual_seed(5)
    visual = build_backbone("narrow_r2plus1d", stream="visual", width=8, input_size=28)
    audio = build_backbone("narrow_resnet", stream="audio", width=8)
    # Batch statistics of an untrained network are 0 and 1; other numbers catch a network left in training mode.
    for network in (visual, audio):
        for name, buffer in network.named_buffers():
            if name.endswith("running_var"):
                buffer.fill_(0.5)
    identities = {
        network.stream: BackboneIdentity(
            name=network.name,
            width=network.width,
            input_size=network.input_size,
            feature_dim=network.feature_dim,
            sha256="0" * 64,
        )
        for network in (audio, visual)
    }
    values = {
        "geometry": ClipGeometry(fps=25),
        "stride": 8,
        "audio": AudioTransform(),
        "visual": VisualTransform(input_size=28),
        "backbones": identities,
        "batch_size": 8,
    }
    return SmallModels(visual.eval(), audio.eval(), FeatureSpec(**(values | changes)))


@pytest.fixture
def models() -> SmallModels:
    return small_models()


@pytest.fixture
def models_with():
    return small_models


@pytest.fixture
def track_maker():
    return make_track


@pytest.fixture
def project(tmp_path, track_maker):
    """Stores of three labelled tracks, and params that train for one short epoch."""
    for folder in ("frames", "audio", "labels"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    tracks = []
    for index, (name, split) in enumerate({"a": "train", "b": "train", "c": "val"}.items()):
        made = track_maker(name, index, frames=50)
        rows = (FrameRow(n + 1, t, j, 1.0) for n, (t, j) in enumerate(zip(made.time_s, made.jpegs, strict=True)))
        write_frames(tmp_path / "data" / "frames" / f"{name}.parquet", rows)
        write_audio(tmp_path / "data" / "audio" / f"{name}.wav", made.sound / 32768)
        table = LabelTable(made.labels[:, 0], made.labels[:, 1], made.valid)
        write_labels(table, tmp_path / "data" / "labels" / f"{name}.parquet")
        tracks.append(Track(name, name, split, f"{name}.mp4", (), "", "", "", "", 50, 25.0, 2.0, True, 50, 50, ()))
    short = {"epochs": 1, "steps_per_epoch": 2, "batch_size": 8, "width": 8}
    sections = {
        "train": {},
        "common": {"threads": 1},
        "geometry": {"fps": 25},
        "audio": {},
        "backbones": {
            "batch_norm": "train",
            "visual": {"name": "narrow_r2plus1d", "input_size": 28} | short,
            "audio": {"name": "narrow_resnet", "input_size": 64} | short,
        },
        "execution": {"executor": "serial", "workers": 1},
    }
    return tmp_path, tracks, sections


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    torch.use_deterministic_algorithms(False)
