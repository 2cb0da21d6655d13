"""Small real media files, made with PyAV where a test needs them."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

TICKS = 30_000  # per second: whole numbers at 15, 24, 25, 29.97 and 60 fps
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}  # by number of channels


def flash_frames(count: int, lit: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Black frames, white from frame `lit` (0-based) on for three frames."""
    return [np.full((height, width, 3), 255 if lit <= index < lit + 3 else 0, np.uint8) for index in range(count)]


def write_media(
    path: Path,
    frames: Sequence[np.ndarray],
    times_s: Sequence[float],
    *,
    sound: np.ndarray | None = None,
    rate: int = 44100,
    sound_at_s: float = 0.0,
    hole_s: tuple[float, float] | None = None,
    codec: str = "libx264",
    codec_options: dict[str, str] | None = None,
    sound_codec: str = "aac",
    rotation: int | None = None,
    aspect: Fraction | None = None,
    ticks: int = TICKS,
    options: dict[str, str] | None = None,
) -> Path:
    """Write frames (H, W, 3) shown at `times_s`, and (channels, n) float sound that starts at `sound_at_s`.

    With `hole_s` (at, length) the stream has no sound for that long, and what follows comes later.
    """
    with av.open(str(path), "w", options=options or {}) as container:
        video = container.add_stream(codec, rate=25, options=codec_options or {})
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        video.codec_context.time_base = video.time_base = Fraction(1, ticks)
        if aspect is not None:
            video.codec_context.sample_aspect_ratio = aspect
        if rotation is not None:
            video.set_display_rotation(rotation)
        audio = None
        if sound is not None:
            layout = LAYOUTS.get(len(sound), f"{len(sound)} channels")
            audio = container.add_stream(sound_codec, rate=rate, layout=layout)
        for rgb, time_s in zip(frames, times_s, strict=True):
            frame = av.VideoFrame.from_ndarray(rgb, "rgb24")
            frame.pts, frame.time_base = round(time_s * ticks), Fraction(1, ticks)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if audio is not None and sound is not None:
            cut = round((hole_s[0] if hole_s else 0.0) * rate)
            for start, part in ((0, sound[:, :cut]), (cut, sound[:, cut:])):
                if not part.shape[1]:
                    continue
                samples, form = np.ascontiguousarray(part.T, np.float32).reshape(1, -1), "flt"
                if sound_codec == "pcm_s16le":  # other encoders convert by themselves, at most 64 channels
                    samples, form = np.rint(samples * 32767).astype(np.int16), "s16"
                piece = av.AudioFrame.from_ndarray(samples, form, layout)
                piece.sample_rate, piece.time_base = rate, Fraction(1, rate)
                piece.pts = round((sound_at_s + (hole_s[1] if hole_s and start else 0.0)) * rate) + start
                container.mux(audio.encode(piece))
            container.mux(audio.encode())
    return path


def tone(seconds: float, rate: int = 44100, channels: int = 1, start_s: float = 0.0) -> np.ndarray:
    """(channels, n) of a 1 kHz tone of amplitude 0.5 that begins at `start_s`, silent before."""
    time_s = np.arange(round(seconds * rate)) / rate
    wave = np.where(time_s >= start_s, 0.5 * np.sin(2 * np.pi * 1000 * (time_s - start_s)), 0.0)
    return np.tile(wave, (channels, 1))


@pytest.fixture(scope="session")
def media() -> Callable[..., Path]:
    return write_media


@pytest.fixture(scope="session")
def make_tone() -> Callable[..., np.ndarray]:
    return tone


@pytest.fixture(scope="session")
def make_flash() -> Callable[..., list[np.ndarray]]:
    return flash_frames


@pytest.fixture(scope="session")
def plain_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """50 frames at 25 fps with a stereo tone at 48 kHz."""
    path = tmp_path_factory.mktemp("media") / "plain.mp4"
    times = [index / 25 for index in range(50)]
    return write_media(path, flash_frames(50, 10), times, sound=tone(2.0, 48000, 2), rate=48000)
