"""Odd, broken and hostile files as people have them, and what is to become of each at every door: one table."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from skimage.data import astronaut

from tests.media.conftest import tone, write_media
from tests.media.damage import promising

FRAMES = 27
STEADY = np.arange(FRAMES) / 25


@dataclass(frozen=True)
class Odd:
    """A file.

    Attributes:
        write: makes it at a path.
        refused: what is said of it; empty where it is predicted.
        noted: what is said beside its numbers.
        face: share of frames with one, where it is predicted.
        sound: whether it is there, likewise.
    """

    write: Callable[[Path], object]
    refused: str = ""
    noted: str = ""
    face: float = 1
    sound: bool = True


def pictures(turn: int = 0) -> list[np.ndarray]:
    """A face that moves a little, turned by so many quarters."""
    picture = astronaut()[:224, 96:320]
    return [np.ascontiguousarray(np.rot90(np.roll(picture, index % 5, axis=1), turn)) for index in range(FRAMES)]


def greys() -> list[np.ndarray]:
    """Nobody."""
    noise = np.random.default_rng(0)
    return [noise.integers(100, 140, (128, 128, 3)).astype(np.uint8) for _ in range(FRAMES)]


def _crowd() -> list[np.ndarray]:
    return [np.tile(cv2.resize(picture, (128, 128)), (4, 5, 1)) for picture in pictures()]


def _text(content: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(content)


def _face(path: Path, **options: object) -> Path:
    return write_media(path, pictures(), STEADY, **({"sound": tone(1)} | options))  # type: ignore[arg-type]


def _heard(rate: int, channels: int = 1) -> Callable[[Path], object]:
    sound = tone(1, rate, channels)
    return lambda path: _face(path, sound=sound, rate=rate, sound_codec="pcm_s16le")


def _cut(path: Path) -> None:
    content = _face(path).read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _hollow(path: Path, numbers: Sequence[int] = range(FRAMES), **options: object) -> None:
    """The packets of these numbers are as they were, with nothing in them."""
    content = bytearray(write_media(path, pictures(), STEADY, **options).read_bytes())  # type: ignore[arg-type]
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        for number in numbers:
            begin, size = packets[number].pos, packets[number].size
            content[begin : begin + size] = bytes(size)
    path.write_bytes(content)


def _promising(path: Path) -> None:
    """Its header gives durations one and a half times too high."""
    path.write_bytes(promising(_face(path, codec_options={"bf": "0"}).read_bytes(), 1.5))


def _huge(path: Path) -> None:
    """Its header declares pictures of 10000 x 10000."""
    frames = [np.zeros((48, 64, 3), np.uint8)] * 3
    content = write_media(path, frames, STEADY[:3], codec="mjpeg", ticks=1000).read_bytes()
    size = b"\xb0\x81\x40\xba\x81\x30"  # Matroska's PixelWidth 64, PixelHeight 48
    assert content.count(size) == 1
    path.write_bytes(content.replace(size, b"\xb0\x82\x27\x10\xba\x82\x27\x10"))


def _endless(path: Path) -> None:
    """Its header declares ten hours."""
    content = write_media(path, greys(), STEADY, ticks=1000).read_bytes()
    at = content.index(b"\x44\x89\x88") + 3  # Matroska's Duration, eight bytes
    path.write_bytes(content[:at] + struct.pack(">d", 10 * 3600e3) + content[at + 8 :])


def _ten_bits(path: Path) -> None:
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 224, 224, "yuv420p10le"
        for rgb in pictures():
            container.mux(video.encode(av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format="yuv420p10le")))
        container.mux(video.encode())


UNEVEN = np.cumsum(np.tile([0.02, 0.05, 0.08], FRAMES // 3))
NO_SOUND = "no audio stream: predicted from the face alone"

ODD: dict[str, Odd] = {
    "letter.mp4": Odd(_text("this is a letter\n" * 20), "it is a text file, not a video"),
    "noise.mp4": Odd(lambda path: path.write_bytes(bytes(range(256)) * 40), "unknown, damaged or not allowed"),
    "cut.mp4": Odd(_cut, "truncated or damaged"),
    "hollow.mp4": Odd(_hollow, f"is damaged: none of its {FRAMES} frames can be decoded"),
    "hole.mov": Odd(
        lambda path: _hollow(path, [13], codec="mjpeg", sound=tone(1), sound_codec="pcm_s16le"),
        noted=f"1 of {FRAMES} frames cannot be decoded",
        face=(FRAMES - 1) / FRAMES,
    ),
    "promises more.mp4": Odd(_promising, noted="truncated or damaged: its header promises 1.6"),
    "empty.mp4": Odd(lambda path: path.touch(), "is empty (0 bytes)"),
    "huge.mkv": Odd(_huge, "has frames of 10000x10000, must be at most "),
    "endless.mkv": Odd(_endless, "lasts 10 h, must be at most "),
    "playlist.mp4": Odd(_text("#EXTM3U\nhttp://127.0.0.1:1/a.ts\n"), "it is an M3U/HLS playlist"),
    "script.mp4": Odd(_text("ffconcat version 1.0\nfile /etc/passwd\n"), "it is an FFmpeg concat script"),
    "address.mp4": Odd(_text("http://127.0.0.1:1/a.mp4\n"), "it is a text file, not a video"),
    "nothing.mp4": Odd(lambda path: write_media(path, greys(), STEADY), "no face of 40 pixels or more ("),
    "no face.mp4": Odd(
        lambda path: write_media(path, greys(), STEADY, sound=tone(1)),
        noted="no face of 40 pixels or more (",
        face=0,
    ),
    "twenty faces.mp4": Odd(
        lambda path: write_media(path, _crowd(), STEADY, sound=tone(1)), noted="several faces at the same time"
    ),
    "no audio.mp4": Odd(lambda path: write_media(path, pictures(), STEADY), noted=NO_SOUND, sound=False),
    "rotated.mp4": Odd(lambda path: write_media(path, pictures(1), STEADY, rotation=-90), noted=NO_SOUND, sound=False),
    "8 kHz mono.mkv": Odd(_heard(8000)),
    "96 kHz 5.1.mkv": Odd(_heard(96000, 6), noted="5.1 is assumed"),
    "10 bit.mp4": Odd(_ten_bits, noted=NO_SOUND, sound=False),
    "variable rate.mkv": Odd(lambda path: write_media(path, pictures(), UNEVEN, ticks=1000, sound=tone(1))),
    "Straße 日本 😀.mp4": Odd(_face),
    "two  spaces .mp4": Odd(_face),
    "<script>alert(1)<%2Fscript>.mp4": Odd(_face),
}
