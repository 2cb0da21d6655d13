"""Small files that ask for much: indices, sizes and rates that no file of their length has."""

import struct
import tempfile
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import soundfile

from tests.media.conftest import flash_frames, tone, write_media

INSIDE = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts")
MANY = 80_000_000
TAGS = 100_000


def box(kind: bytes, *parts: bytes) -> bytes:
    """A box of an MP4."""
    content = b"".join(parts)
    return struct.pack(">I", 8 + len(content)) + kind + content


def with_boxes(content: bytes, changed: Mapping[bytes, bytes], more: Mapping[bytes, bytes] | None = None) -> bytes:
    """An MP4 whose boxes of these kinds hold something else; `more` is put at the end of boxes of its kinds."""
    out, at = b"", 0
    while at + 8 <= len(content):
        size, kind = int.from_bytes(content[at : at + 4]), content[at + 4 : at + 8]
        inside = content[at + 8 : at + size]
        if kind in INSIDE:
            inside = with_boxes(inside, changed, more)
        out += box(kind, changed.get(kind, inside), (more or {}).get(kind, b""))
        at += size
    return out


def table(*entries: tuple[int, ...], head: bytes = bytes(4)) -> bytes:
    """A table of an MP4's index, after its version and flags."""
    return head + struct.pack(">I", len(entries)) + b"".join(struct.pack(f">{len(e)}I", *e) for e in entries)


def plain_video(path: Path) -> bytes:
    """Two seconds of pictures, without B frames."""
    return write_media(path, flash_frames(50, 5), np.arange(50) / 25, codec_options={"bf": "0"}).read_bytes()


SAMPLES = {
    b"stts": table((MANY, 1)),
    b"stsc": table((1, MANY, 1)),
    b"stsz": bytes(4) + struct.pack(">II", 1, MANY),
}


def _of_boxes(changed: Mapping[bytes, bytes], more: Mapping[bytes, bytes] | None = None) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(with_boxes(plain_video(path), changed, more))  # type: ignore[return-value]


def many_tags(path: Path) -> None:
    """100,000 items of metadata, which FFmpeg compares with each other."""
    keys = b"".join(box(b"mdta", b"%08d" % number) for number in range(TAGS))
    values = b"".join(
        box(struct.pack(">I", number + 1), box(b"data", struct.pack(">II", 1, 0), b"value")) for number in range(TAGS)
    )
    handler = box(b"hdlr", bytes(8), b"mdta", bytes(13))
    meta = box(b"meta", bytes(4), handler, box(b"keys", struct.pack(">II", 0, TAGS), keys), box(b"ilst", values))
    path.write_bytes(with_boxes(plain_video(path), {}, {b"moov": meta}))


def growing(path: Path, codec: str, width: int, height: int) -> None:
    """Ten pictures of 64x64, then two of another size."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        container.start_encoding()
        packets = _pictures(codec, 64, 64, 10) + _pictures(codec, width, height, 2)
        for number, packet in enumerate(packets):
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, number, number, Fraction(1, 25)
            container.mux(packet)


def _pictures(codec: str, width: int, height: int, count: int) -> list[av.Packet]:
    if codec == "mjpeg":  # FFmpeg's encoder refuses the sizes that matter
        jpeg = cv2.imencode(".jpg", np.full((height, width, 3), 99, np.uint8))[1].tobytes()
        return [av.Packet(jpeg) for _ in range(count)]
    encoder = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
    fast = {"libx264": {"preset": "ultrafast", "tune": "zerolatency", "x264-params": "keyint=1"}}
    encoder.options = fast.get(codec, {"deadline": "realtime", "cpu-used": "8"} if "vpx" in codec else {})
    packets = []
    for number in range(count):
        frame = av.VideoFrame(width, height, "yuv420p")
        frame.pts = number
        packets += encoder.encode(frame)
    return packets + encoder.encode(None)


def sound_at(path: Path, rate: int) -> None:
    """A WAV with this rate in its header."""
    soundfile.write(path, tone(1.0)[0], 44100, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    content[24:28] = struct.pack("<I", rate)
    path.write_bytes(content)


def video_with_sound_at(path: Path, rate: float) -> None:
    """A Matroska file whose track of PCM has this rate in its header."""
    write_media(path, flash_frames(50, 5), np.arange(50) / 25, sound=tone(2.0), sound_codec="pcm_s16le")
    content = path.read_bytes()
    usual = b"\xb5\x88" + struct.pack(">d", 44100.0)  # SamplingFrequency of 8 bytes
    assert usual in content
    path.write_bytes(content.replace(usual, b"\xb5\x88" + struct.pack(">d", rate)))


def with_size(path: Path, element: bytes) -> None:
    """A Matroska file in which an element claims to have 2^40 bytes."""
    write_media(path, flash_frames(50, 5), np.arange(50) / 25, sound=tone(2.0))
    content = path.read_bytes()
    at = content.index(element) + len(element)
    length = 9 - content[at].bit_length()
    path.write_bytes(content[:at] + b"\x01" + (1 << 40).to_bytes(7) + content[at + length :])


BOMBS: dict[str, Callable[[Path], None]] = {
    "stts, stsc and stsz.mp4": _of_boxes(SAMPLES),
    "stts.mp4": _of_boxes({b"stts": SAMPLES[b"stts"]}),
    "stsc.mp4": _of_boxes({b"stsc": SAMPLES[b"stsc"]}),
    "stsz.mp4": _of_boxes({b"stsz": SAMPLES[b"stsz"]}),
    "stsz and stsc.mp4": _of_boxes({b"stsz": SAMPLES[b"stsz"], b"stsc": SAMPLES[b"stsc"]}),
    "ctts.mp4": _of_boxes(SAMPLES, {b"stbl": box(b"ctts", table((MANY, 1)))}),
    "ctts alone.mp4": _of_boxes({}, {b"stbl": box(b"ctts", table((MANY, 1)))}),
    "elst.mp4": _of_boxes({b"elst": table(*[(2000, 0, 1 << 16)] * 100_000)}),
    "counts.mp4": _of_boxes({b"stts": bytes(4) + b"\x0f\xff\xff\xff" + bytes(8)}),
    "tags.mp4": many_tags,
    **{
        f"{codec}.{suffix}": lambda path, codec=codec, size=size: growing(path, codec, *size)  # type: ignore[misc]
        for codec, suffix, size in [
            ("mjpeg", "mkv", (20000, 10000)),
            ("mpeg4", "avi", (8000, 5000)),
            ("libx264", "ts", (8000, 5000)),
            ("libvpx", "webm", (8000, 5000)),
            ("libvpx-vp9", "webm", (8000, 5000)),
        ]
    },
    **{f"{rate} Hz.wav": lambda path, rate=rate: sound_at(path, rate) for rate in (0, 1, 1 << 31)},  # type: ignore[misc]
    **{
        f"{rate:g} Hz.mkv": lambda path, rate=rate: video_with_sound_at(path, rate)  # type: ignore[misc]
        for rate in (0.0, 1.0, 2.0**31, float("nan"))
    },
    "segment.mkv": lambda path: with_size(path, b"\x18\x53\x80\x67"),
    "codec private.mkv": lambda path: with_size(path, b"\x63\xa2"),
    "block.mkv": lambda path: with_size(path, b"\xa3"),
}


def bomb_seeds() -> list[bytes]:
    """Every bomb's file."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in BOMBS]
        for file in files:
            BOMBS[file.name](file)
        return [file.read_bytes() for file in files]
