"""How small, dim, noisy and tilted a face may be: the share of rendered faces that the detector finds.

Two frames of each of some demo videos, with a face 100 pixels wide unless its size is what changes.

    python benchmarks/detection_limits.py --project .
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from avfusion.media.faces import USUAL_FACE, FaceDetector
from avfusion.media.video import read_video

SIDE, WIDTH, VIDEOS = 320, 100, 10
WIDTHS = (8, 12, 16, 20, 24, 28, 32, 40, 100)
ANGLES = (0, 15, 30, 45, 60, 90, 180)
LIGHTS = (1.0, 0.5, 0.25, 0.12, 0.06, 0.03)
NOISES = (0, 10, 20, 40, 60, 80)


def faces(project: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pictures with one face each, and its box."""
    detector, found = FaceDetector(), []
    videos = sorted((project / "data/raw/demo/videos").glob("*.mp4"))
    for video in videos[:: max(1, len(videos) // VIDEOS)]:
        for frame in read_video(video, wanted=lambda index: index in (0, 200)):
            seen = detector.detect(frame.rgb)
            if len(seen) == 1:
                found.append((frame.rgb, seen[0].box))
    return found


def placed(picture: np.ndarray, box: np.ndarray, width: float, angle: float = 0.0) -> np.ndarray:
    """A picture of 320x320 with the face in the middle, `width` pixels wide, turned by `angle` degrees."""
    x, y = (box[:2] + box[2:]) / 2
    matrix = cv2.getRotationMatrix2D((float(x), float(y)), angle, width / float(box[2] - box[0]))
    matrix[:, 2] += SIDE / 2 - x, SIDE / 2 - y
    shrunk = cv2.GaussianBlur(picture, (0, 0), max(0.01, 0.4 * float(box[2] - box[0]) / width))
    return cv2.warpAffine(shrunk, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)


def share(pictures: Sequence[np.ndarray], detector: FaceDetector) -> str:
    """Share of the pictures with a face near the middle."""
    hits = 0
    for picture in pictures:
        centres = [(face.box[:2] + face.box[2:]) / 2 for face in detector.detect(picture)]
        hits += any(np.abs(centre - SIDE / 2).max() < WIDTH / 2 for centre in centres)
    return f"{hits / len(pictures):.0%}"


def main() -> None:
    """Print a table per way of making it hard."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--project", type=Path, default=Path.cwd())
    known, usual, rng = faces(options.parse_args().project), FaceDetector(), np.random.default_rng(0)
    print(f"{len(known)} pictures")

    def row(name: str, value: object, change: Callable[[np.ndarray, np.ndarray], np.ndarray], *least: int) -> None:
        pictures = [change(picture, box) for picture, box in known]
        detectors = [usual if size == USUAL_FACE else FaceDetector(size) for size in least]
        print(name, value, *(share(pictures, detector) for detector in detectors), flush=True)

    for width in WIDTHS:
        row("width", width, lambda p, b, w=width: placed(p, b, w), 40, 24, 16)
    for angle in ANGLES:
        row("tilt", angle, lambda p, b, a=angle: placed(p, b, WIDTH, a), 40)
    for light in LIGHTS:
        row("light", light, lambda p, b, s=light: np.rint(placed(p, b, WIDTH) * s).astype(np.uint8), 40)
    for noise in NOISES:
        row("noise", noise, lambda p, b, s=noise: noisy(placed(p, b, WIDTH), s, rng), 40)
    row("light 0.12, noise", 10, lambda p, b: noisy(placed(p, b, WIDTH) * 0.12, 10, rng), 40)


def noisy(picture: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """The picture with normal noise on every value."""
    return np.clip(picture + rng.normal(0, deviation, picture.shape), 0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
