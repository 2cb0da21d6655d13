"""Writing an overlay against the bare decoding and encoding of the same pictures, and against real time.

Ten seconds of a moving photograph at 640x360 and 25 fps with stereo sound. The bare operation decodes every frame to
RGB and encodes it again with the same settings, at the source's size and without sound. Both in turn, 5 rounds; the
ratio of the minima of processor time, and the overlay's seconds per second of video on a clock. That must be at most 1.
"""

import os
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pandas as pd
from skimage.data import astronaut

from avfusion.inference.analysis import MAIN, Person
from avfusion.media.audio_track import timeline_with_sound
from avfusion.media.mp4_writer import mp4_writer
from avfusion.media.video import read_video
from avfusion.presentation.overlay import write_overlay

ROUNDS, SECONDS, FPS, RATE = 5, 10, 25, 48000
WIDTH, HEIGHT = 640, 360


def make_video(path: Path) -> None:
    """A photograph that moves over a camera's noise, and two tones."""
    rng = np.random.default_rng(0)
    ground = rng.integers(90, 110, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    picture = astronaut()[:HEIGHT, :HEIGHT]
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = container.add_stream("aac", rate=RATE, layout="stereo")
        for index in range(SECONDS * FPS):
            image = np.roll(ground, index, axis=1)
            left = round((WIDTH - HEIGHT) / 2 * (1 + np.sin(index / 20)))
            image[:, left : left + HEIGHT] = picture
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(video.encode())
        time_s = np.arange(SECONDS * RATE) / RATE
        waves = np.stack([0.2 * np.sin(2 * np.pi * hertz * time_s) for hertz in (300, 500)]).astype(np.float32)
        sound = av.AudioFrame.from_ndarray(waves, "fltp", "stereo")
        sound.sample_rate, sound.pts, sound.time_base = RATE, 0, Fraction(1, RATE)
        container.mux(audio.encode(sound))
        container.mux(audio.encode())


def bare(video: Path, out: Path) -> None:
    """Decode and encode."""
    timeline = timeline_with_sound(video)
    with mp4_writer(out, (WIDTH, HEIGHT), fps=timeline.fps, channels=0) as writer:
        for frame in read_video(video, timeline=timeline):
            writer.picture(frame.rgb, frame.time_s, 1 / FPS)


def main() -> None:
    """Print both times, their ratio and the speed; exit 1 where it is slower than the video plays."""
    with tempfile.TemporaryDirectory() as temporary:
        video, out = Path(temporary) / "video.mp4", Path(temporary) / "out.mp4"
        make_video(video)
        time_s = timeline_with_sound(video).times_s
        table = pd.DataFrame(
            {
                "time_s": time_s,
                "valence": np.sin(time_s),
                "arousal": np.cos(2 * time_s),
                "face_confidence": 0.98,
                "audio_present": True,
                "visual_present": True,
            }
        )
        boxes = np.tile([250.0, 60.0, 90.0, 120.0], (len(time_s), 1))
        persons = [Person(MAIN, table, boxes)]
        sides = {"bare": lambda: bare(video, out), "overlay": lambda: write_overlay(video, out, persons)}
        best, clock = dict.fromkeys(sides, float("inf")), dict.fromkeys(sides, float("inf"))
        for _ in range(ROUNDS):
            for side, run in sides.items():
                processor, started = time.process_time(), time.perf_counter()
                run()
                best[side] = min(best[side], time.process_time() - processor)
                clock[side] = min(clock[side], time.perf_counter() - started)
        assert len(timeline_with_sound(out).times_s) == len(time_s)
    times = ", ".join(f"{side} {1000 * seconds / len(time_s):.1f} ms a frame" for side, seconds in best.items())
    ratio, share = best["overlay"] / best["bare"], clock["overlay"] / SECONDS
    load = os.getloadavg()[0]
    print(f"overlay at {WIDTH}x{HEIGHT}: {times} (processor), {ratio:.2f} times bare (load {load:.1f})")
    print(f"{share:.2f} s on the clock for a second of video, at most 1: {'FAILED' if share > 1 else 'kept'}")
    sys.exit(share > 1)


if __name__ == "__main__":
    main()
