"""The stage `audio` on one video against the bare operation: PyAV decodes and FFmpeg resamples to mono 16 bits.

The bare operation is the plainest loop (one resampler, frame by frame) and throws its result away; the stage also reads
the timeline from all packets, averages the channels, aligns, and writes the WAV. One minute of video; both in turn, 25
rounds, the ratio of the minima of their processor time, which a busy machine changes least. It must be at least 0.8.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.resampler import AudioResampler

from avfusion.corpora.source_hashes import file_source
from avfusion.data.video_sound import SoundTask, make_audio
from avfusion.runtime.stamps import UNSTAMPED

ROUNDS, SECONDS, FPS = 25, 60, 25
LIMIT = 0.8
SOUNDS = {  # file: codec, rate, layout
    "aac-stereo.mp4": ("aac", 48000, "stereo"),
    "aac-mono.mp4": ("aac", 44100, "mono"),
    "opus-stereo.mkv": ("libopus", 48000, "stereo"),
    "aac-surround.mp4": ("aac", 48000, "5.1"),
}


def make_video(path: Path, codec: str, rate: int, layout: str) -> None:
    """A small moving picture, with tones and noise."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream(codec, rate=rate, layout=layout)
        channels = audio.layout.nb_channels
        time_s = np.arange(rate) / rate
        tones = [0.2 * np.sin(2 * np.pi * (200 + 90 * channel) * time_s) for channel in range(channels)]
        second = (np.stack(tones, axis=1) + 0.02 * rng.normal(size=(rate, channels))).astype(np.float32).reshape(1, -1)
        pictures = rng.integers(0, 255, (5, 48, 64, 3), dtype=np.uint8)
        for index in range(SECONDS * FPS):
            frame = av.VideoFrame.from_ndarray(pictures[index // FPS % 5], "rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(video.encode(frame))
            if index % FPS == 0:
                sound = av.AudioFrame.from_ndarray(second, "flt", layout)
                sound.sample_rate, sound.pts, sound.time_base = rate, index // FPS * rate, Fraction(1, rate)
                container.mux(audio.encode(sound))
        container.mux(video.encode())
        container.mux(audio.encode())


def bare(path: Path) -> int:
    """Decode and resample; the number of samples."""
    count = 0
    with av.open(str(path)) as container:
        resampler = AudioResampler("s16", "mono", 44100)
        for frame in container.decode(container.streams.audio[0]):
            count += sum(piece.samples for piece in resampler.resample(frame))
        count += sum(piece.samples for piece in resampler.resample(None))
    return count


def main() -> None:
    """Print both times and their ratio for each kind of sound; exit 1 where the stage is too slow."""
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for name, (codec, rate, layout) in SOUNDS.items():
            path = Path(folder) / name
            make_video(path, codec, rate, layout)
            sides: dict[str, Callable[[], object]] = {
                "bare": lambda path=path: bare(path),
                "stage": lambda path=path: make_audio(
                    SoundTask(path, file_source(path).digest), path.with_suffix(".wav"), UNSTAMPED
                ),
            }
            best = dict.fromkeys(sides, float("inf"))
            for _ in range(ROUNDS):
                for side, run in sides.items():
                    started = time.process_time()
                    run()
                    best[side] = min(best[side], time.process_time() - started)
            ratio = best["bare"] / best["stage"]
            failed |= ratio < LIMIT
            times = ", ".join(f"{side} {1000 * seconds:.1f} ms" for side, seconds in best.items())
            load = os.getloadavg()[0]
            print(f"audio stage, {name}: {times}, speed {ratio:.2f} of bare (load {load:.1f})", flush=True)
    print(f"at least {LIMIT}: {'FAILED' if failed else 'kept'}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
