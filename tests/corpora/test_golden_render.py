"""What rendering gives for fixed parameters.

The numbers are moments: they do not depend on the last bits in which CPUs differ, but on every constant of pictures,
voice and labels.
"""

from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from avfusion.corpora.demo.render import render_demo
from avfusion.corpora.settings import RenderSettings
from avfusion.runtime.settings import ExecutionSettings

PARAMS = RenderSettings(seed=50, train=1, val=1, test=1, min_seconds=7, max_seconds=7, size=96)
"""In these seconds the faces are occluded, the first voice pauses, and a burst drowns the others."""
BANDS_HZ = (80, 300, 1000, 3000, 8000)
# name: (values, tolerance)
GOLDEN: dict[str, tuple[tuple[float, ...], float]] = {
    "crops": ((119,), 0),
    "crop colour": ((127.478, 144.098, 173.877), 0.1),
    "crop contrast": ((50.405, 47.121, 37.917), 0.05),
    "crop grain": ((1.898, 2.917), 0.05),
    "picture": ((154.231, 28.777), 0.1),
    "voice with a pause": ((-36.91, -33.85, -45.54, -54.77), 0.1),
    "voice with a burst": ((-29.23, -22.94, -33.60, -40.20), 0.1),
    "labels": ((0.0245, 0.0615, 0.4496, 0.3698, -0.1882, 0.1538, -0.1554, -0.9727), 2e-4),
    "oracle errors": ((0.3368, 0.2189, 0.4019, 0.2913, 0.2720, 0.3502), 5e-4),
    "lost": ((0.3197, 0.1181, 0.2371, 1.0), 1e-4),
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("golden")
    render_demo(root, PARAMS, ExecutionSettings(executor="serial"))
    return root


def measure(root: Path) -> dict[str, tuple[float, ...]]:
    """Moments of what a corpus holds: pictures of the first video, sound of two, numbers of all tracks."""
    paths = sorted((root / "cropped_aligned" / "demo-001").iterdir())
    crops = np.stack([cv2.imread(str(path)) for path in paths]).astype(np.float32)
    fine = crops - np.stack([cv2.GaussianBlur(crop, (0, 0), 2.0) for crop in crops])
    with av.open(str(root / "videos" / "demo-001.mp4")) as container:
        pictures = [frame.to_ndarray(format="gray").astype(np.float32) for frame in container.decode(video=0)]
    labels = np.loadtxt(root / "annotations" / "VA_Set" / "Train_Set" / "demo-001.txt", delimiter=",", skiprows=1)
    truths = [pq.read_table(path).to_pandas() for path in sorted((root / "truth").glob("*.parquet"))]
    errors = [
        np.mean([np.abs(t[f"oracle_{s}_{d}"] - t[d]).mean() for t in truths])
        for s in ("both", "audio", "visual")
        for d in ("valence", "arousal")
    ]
    lost = [np.mean([t[name].mean() for t in truths]) for name in ("occluded", "pause", "burst", "valid")]
    return {
        "crops": (len(paths),),
        "crop colour": tuple(crops.mean(axis=(0, 1, 2))),
        "crop contrast": (crops.std(), crops[:, 30:70].std(), crops[:, 80:105, 35:75].std()),
        "crop grain": (np.median(np.abs(fine)), np.abs(np.diff(crops, axis=0)).mean()),
        "picture": (np.mean(pictures), np.std(pictures)),
        "voice with a pause": levels(root / "videos" / "demo-001.mp4"),
        "voice with a burst": levels(root / "videos" / "demo-002.mp4"),
        "labels": (*labels.mean(axis=0), *labels.std(axis=0), *labels[10], *labels[-10]),
        "oracle errors": tuple(errors),
        "lost": tuple(lost),
    }


def levels(video: Path) -> tuple[float, ...]:
    """Power in dB of a video's sound, per band."""
    with av.open(str(video)) as container:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    power = np.abs(np.fft.rfft(sound)) ** 2
    band = np.digitize(np.fft.rfftfreq(len(sound), 1 / 44100), BANDS_HZ)
    return tuple(10 * np.log10(power[band == index].sum() / len(sound) ** 2) for index in range(1, len(BANDS_HZ)))


def test_rendering_gives_the_known_numbers(corpus: Path) -> None:
    found = measure(corpus)
    differing = {
        name: [round(float(value), 4) for value in found[name]]
        for name, (values, tolerance) in GOLDEN.items()
        if found[name] != pytest.approx(values, abs=tolerance)
    }
    assert differing == {}
    assert set(found) == set(GOLDEN)
