"""`scan`, the stage `corpus` and `doctor` on a tree of Aff-Wild2's size: 600 tracks, 2.7 million names of crops.

The crops are hard links to a few thousand files of 5 kB, the videos to a few real ones as long as their tracks and of
30 MB, so that reading all of them takes CPU-time, but little disk; and the annotation files have a line per frame. The
first scan reads 30 GB, later ones ask the file system what changed. Each command runs as a process of its own; printed
are its CPU-seconds (user and system, children included), which other work on the machine changes little. The tree takes
2.7 million names and is removed at the end.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np

PROJECT = Path(__file__).resolve().parents[1]
SPLITS = {"train": 356, "val": 76, "test": 168}
LENGTHS = (4380, 4460, 4540, 4620)  # frames; on average 4500, as in Aff-Wild2
FPS = 30
BUDGET_S = 120
CROP_BYTES = 5_000
VIDEO_BYTES = 30_000_000
SETTLED_S = 3  # a scan remembers files that have been left alone for two seconds


def write_video(path: Path, frames: int) -> None:
    """Real H.264 and AAC, small, since only the packets count; then nothing, up to the usual size."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "crf": "40"})
        video.width = video.height = 64
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=44100, layout="mono")
        for index in range(frames):
            picture = np.full((64, 64, 3), index % 256, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode())
        for start in range(0, frames * 44100 // FPS, 1024):
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            sound.sample_rate, sound.pts = 44100, start
            container.mux(audio.encode(sound))
        container.mux(audio.encode())
    with path.open("ab") as stream:
        rest = VIDEO_BYTES - stream.tell()
        stream.write(rest.to_bytes(4, "big") + b"free")
        stream.truncate(VIDEO_BYTES)


def write_tree(root: Path, share: float) -> tuple[int, int]:
    """An Aff-Wild2-shaped corpus with this share of the tracks; returns the numbers of tracks and of crops."""
    for folder in ("videos/batch1", "cropped_aligned", "cropped_aligned_new_50_vids"):
        (root / folder).mkdir(parents=True)
    masters = []
    for length in LENGTHS:
        masters.append(root / "videos" / f".{length}.mp4")
        write_video(masters[-1], length)
    crop_masters = []
    for number in range(max(LENGTHS)):
        crop_masters.append(root / "videos" / f".{number}.jpg")
        crop_masters[-1].write_bytes(os.urandom(CROP_BYTES))
    annotations = root / "annotations" / "VA_Set"
    folders = {"train": annotations / "Train_Set", "val": annotations / "Validation_Set"}
    other = root / "annotations" / "EXPR_Set" / "Train_Set"
    for folder in (*folders.values(), other):
        folder.mkdir(parents=True)
    tracks = crops = 0
    test = []
    for split, full in SPLITS.items():
        for _ in range(max(1, round(full * share))):
            name, length = f"{tracks}-30-1280x720", LENGTHS[tracks % len(LENGTHS)]
            os.link(masters[tracks % len(LENGTHS)], root / "videos" / "batch1" / f"{name}.mp4")
            crops_of = root / ("cropped_aligned" if tracks % 12 else "cropped_aligned_new_50_vids") / name
            write_crops(crops_of, crop_masters[:length])
            if split == "test":
                test.append(name)
            else:
                (folders[split] / f"{name}.txt").write_text("valence,arousal\n" + "0.123,-0.456\n" * length)
                (other / f"{name}.txt").write_text("Neutral,Anger\n1\n")
            tracks, crops = tracks + 1, crops + length
    (annotations / "Valence_Arousal_test_set_release.txt").write_text("\n".join(test))
    return tracks, crops


def write_crops(folder: Path, masters: list[Path]) -> None:
    """Links 00001.jpg and so on."""
    folder.mkdir()
    for number, master in enumerate(masters, 1):
        os.link(master, f"{folder}/{number:05d}.jpg")


def measure(name: str, command: list[str], project: Path) -> float:
    """Run one command; print and return its CPU-seconds."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stdout}\n{done.stderr}")
    user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    print(f"  {name:<22}{user + system:6.1f} CPU-s (user {user:.1f}, system {system:.1f}), {wall:.1f} s")
    return user + system


def main() -> None:
    """Make the tree, run the commands, print their CPU-seconds and the sum."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="share of the tracks (default: all)")
    parser.add_argument("--folder", type=Path, help="where the tree is made for the time (default: a temporary folder)")
    options = parser.parse_args()
    workspace = Path(tempfile.mkdtemp(prefix="avfusion-scale-", dir=options.folder))
    try:
        project, raw = workspace / "project", workspace / "raw"
        project.mkdir(parents=True)
        shutil.copyfile(PROJECT / "dvc.yaml", project / "dvc.yaml")
        started = time.process_time()
        tracks, crops = write_tree(raw, options.share)
        made = f"{tracks} tracks, {crops} crops, made in {time.process_time() - started:.0f} CPU-s"
        print(f"{made} (load {os.getloadavg()[0]:.1f})", flush=True)
        avfusion = [sys.executable, "-m", "avfusion.cli"]
        stage = [sys.executable, str(PROJECT / "pipelines" / "corpus.py")]
        time.sleep(SETTLED_S)
        total = measure("preset and scan", [*avfusion, "preset", "affwild2", "--root", str(raw)], project)
        total += measure("doctor, first", [*avfusion, "doctor"], project)
        corpus = measure("corpus", stage, project)
        total += corpus
        last = measure("doctor, after corpus", [*avfusion, "doctor"], project)
        later = measure("second scan", [*avfusion, "scan"], project) + corpus + last
        print(f"scan, corpus and doctor: {later:.0f} CPU-s (budget {BUDGET_S * options.share:.0f}), "
              f"{total:.0f} the first time, when all files are read")  # fmt: skip
    finally:
        shutil.rmtree(workspace)


if __name__ == "__main__":
    main()
