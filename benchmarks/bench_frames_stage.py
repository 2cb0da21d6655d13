"""The stage `frames` with ready crops against the bare operation: read the files, write their bytes once.

The bare operation lists the folder, reads file after file and writes their bytes into one file; the stage also reads
the video's timeline from its packets, pairs crops with frames, makes sure that each crop will decode, and writes a
table. 3,000 crops of 112x112, all in the page cache; both in turn, 25 rounds, the ratio of the minima of their
processor time, which a busy machine changes least. It must be at most 1.5.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from skimage.data import astronaut

from avfusion.corpora.source_hashes import crops_digest, file_source
from avfusion.data.frames import read_frames
from avfusion.data.settings import FramesSettings
from avfusion.data.source_crops import SourceCropsTask, make_frames_of_crops
from avfusion.runtime.stamps import UNSTAMPED

ROUNDS, CROPS, FPS, RATE = 25, 3000, 25, 44100
LIMIT = 1.5


def make_crops(folder: Path) -> None:
    """A face, each time turned, scaled and moved a little, with a camera's noise."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    picture = cv2.cvtColor(astronaut(), cv2.COLOR_RGB2BGR)
    for number in range(1, CROPS + 1):
        turn = cv2.getRotationMatrix2D((225, 110), rng.uniform(-6, 6), rng.uniform(0.55, 0.7))
        turn[:, 2] += np.array([56 - 225, 60 - 110]) + rng.uniform(-3, 3, 2)
        crop = cv2.warpAffine(picture, turn, (112, 112)) + rng.normal(0, 1, (112, 112, 3))
        jpeg = cv2.imencode(".jpg", np.clip(crop, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
        (folder / f"{number:05d}.jpg").write_bytes(jpeg.tobytes())


def make_video(path: Path) -> None:
    """As many frames as crops, and sound."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream("aac", rate=RATE, layout="mono")
        for index in range(CROPS):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), index % 200, np.uint8), "rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(video.encode(frame))
            if index % FPS == 0:
                sound = av.AudioFrame.from_ndarray(np.zeros((1, RATE), np.float32), "fltp", "mono")
                sound.sample_rate, sound.pts, sound.time_base = RATE, index // FPS * RATE, Fraction(1, RATE)
                container.mux(audio.encode(sound))
        container.mux(video.encode())
        container.mux(audio.encode())


def bare(folder: Path, out: Path) -> None:
    """Read every file, write its bytes."""
    with open(out, "wb") as target:
        for name in sorted(os.listdir(folder)):
            with open(f"{folder}/{name}", "rb") as source:
                target.write(source.read())


def main() -> None:
    """Print both times and their ratio; exit 1 where the stage is too slow."""
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        make_crops(root / "crops")
        make_video(root / "video.mp4")
        video, crops = root / "video.mp4", root / "crops"
        scanned = crops_digest({path.name: path.stat().st_size for path in crops.iterdir()})
        task = SourceCropsTask(video, file_source(video).digest, (crops,), scanned, FramesSettings().jpeg_quality)
        sides: dict[str, Callable[[], None]] = {
            "bare": lambda: bare(root / "crops", root / "bytes"),
            "stage": lambda: make_frames_of_crops(task, root / "table.parquet", UNSTAMPED),
        }
        best = dict.fromkeys(sides, float("inf"))
        for _ in range(ROUNDS):
            for side, run in sides.items():
                started = time.process_time()
                run()
                best[side] = min(best[side], time.process_time() - started)
        table = read_frames(root / "table.parquet")
        assert b"".join(jpeg or b"" for jpeg in table.jpeg) == (root / "bytes").read_bytes()
    ratio = best["stage"] / best["bare"]
    times = ", ".join(f"{side} {1e6 * seconds / CROPS:.1f} us a crop" for side, seconds in best.items())
    verdict = "FAILED" if ratio > LIMIT else "kept"
    print(f"frames stage, ready crops: {times}, {ratio:.2f} times bare (load {os.getloadavg()[0]:.1f})")
    print(f"at most {LIMIT}: {verdict}")
    sys.exit(ratio > LIMIT)


if __name__ == "__main__":
    main()
