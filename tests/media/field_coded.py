"""Video whose frames are coded as two fields, as camcorders and broadcasters write it.

x265 writes such HEVC; no encoder at hand writes such H.264 (PAFF), whose macroblocks are uncompressed here (I_PCM), so
that the pictures come out as they went in.
"""

import io
import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np

from tests.media.conftest import write_media

TOP, BOTTOM = 0, 1
IDR, OTHER, SEQUENCE, PICTURE = 0x65, 0x41, 0x67, 0x68  # header bytes of NAL units


class Bits:
    """Writes a NAL unit bit by bit."""

    def __init__(self) -> None:
        self.text = ""

    def fixed(self, value: int, count: int) -> None:
        self.text += f"{value:0{count}b}"

    def golomb(self, *values: int) -> None:
        for value in values:
            digits = f"{value + 1:b}"
            self.text += "0" * (len(digits) - 1) + digits

    def unit(self, header: int, content: bytes = b"") -> bytes:
        """The bits, zeros up to a whole byte, the content and the final bit, after a start code."""
        if content:
            self.text += "0" * (-len(self.text) % 8)
        head = self.text if content else self.text + "1"
        head += "0" * (-len(head) % 8)
        data = int(head, 2).to_bytes(len(head) // 8) + content + (b"\x80" if content else b"")
        return b"\0\0\0\1" + bytes([header]) + re.sub(rb"\0\0(?=[\0-\3])", b"\0\0\3", data)


def field_pictures(
    pictures: Sequence[np.ndarray], *, bottom_first: bool = False, whole: Sequence[int] = ()
) -> list[list[bytes]]:
    """The one or two coded pictures of each frame (H, W, 3), with sides that are multiples of 32.

    Args:
        whole: Frames that are coded as one picture: encoders choose frame by frame.
    """
    coded = []
    for number, rgb in enumerate(pictures):
        planes = _planes(rgb)
        if number in whole:
            coded.append([_picture(planes, number, None, first=True)])
        else:
            order = (BOTTOM, TOP) if bottom_first else (TOP, BOTTOM)
            fields = [[plane[parity::2] for plane in planes] for parity in order]
            coded.append(
                [
                    _picture(field, number, parity, first=not index)
                    for index, (field, parity) in enumerate(zip(fields, order, strict=True))
                ]
            )
    coded[0][0] = parameter_sets(*pictures[0].shape[:2]) + coded[0][0]
    return coded


def parameter_sets(height: int, width: int) -> bytes:
    sequence, picture = Bits(), Bits()
    sequence.fixed(77, 8)  # Main
    sequence.fixed(0, 8)
    sequence.fixed(30, 8)
    sequence.golomb(0, 0, 2, 1)  # its number, 4 bits of frame_num, output in decoding order, one reference
    sequence.fixed(0, 1)
    sequence.golomb(width // 16 - 1, height // 32 - 1)
    sequence.text += "00" + "1" + "0" + "0"  # fields, none within a frame; direct_8x8; no cropping; no VUI
    picture.golomb(0, 0)
    picture.text += "00"
    picture.golomb(0, 0, 0)
    picture.text += "000"
    picture.golomb(0, 0, 0)
    picture.text += "000"
    return sequence.unit(SEQUENCE) + picture.unit(PICTURE)


def _planes(rgb: np.ndarray) -> list[np.ndarray]:
    height, width = rgb.shape[:2]
    planes = av.VideoFrame.from_ndarray(rgb, "rgb24").to_ndarray(format="yuv420p").reshape(-1)
    luma, chroma = height * width, height * width // 4
    parts = planes[:luma], planes[luma : luma + chroma], planes[luma + chroma :]
    return [part.reshape(height // scale, width // scale) for part, scale in zip(parts, (1, 2, 2), strict=True)]


def _picture(planes: Sequence[np.ndarray], number: int, parity: int | None, *, first: bool) -> bytes:
    """A slice of uncompressed macroblocks; `parity` None: of a frame."""
    bits, idr = Bits(), number == 0 and first
    bits.golomb(0, 7, 0)  # from the first macroblock on, all intra, parameter set 0
    bits.fixed(number % 16, 4)  # frame_num
    bits.text += "0" if parity is None else f"1{parity}"
    if idr:
        bits.golomb(0)
    bits.text += "00" if idr else "0"  # reference marking
    bits.golomb(0)  # slice_qp_delta
    luma, *chromas = planes
    content = b""
    for row in range(luma.shape[0] // 16):
        for column in range(luma.shape[1] // 16):
            blocks = [luma[16 * row : 16 * row + 16, 16 * column : 16 * column + 16]]
            blocks += [chroma[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] for chroma in chromas]
            pcm = b"".join(block.tobytes() for block in blocks)
            # mb_type 25 (I_PCM) in 9 bits, and zeros up to a whole byte: two bytes where it begins at one
            content += (b"\x0d\x00" + pcm) if content else pcm
    bits.golomb(25)
    return bits.unit(IDR if idr else OTHER, content)


def write_field_coded(
    path: Path | io.BytesIO,
    pictures: Sequence[np.ndarray],
    *,
    fps: int = 25,
    packets: Literal["frames", "fields"] = "frames",
    sound: np.ndarray | None = None,
    sound_at_s: float = 0.0,
    rate: int = 48000,
    sound_codec: str = "mp2",
    begin_s: float = 0.0,
    container_format: str | None = None,
    **coding: object,
) -> Path | io.BytesIO:
    """Write frames coded as fields, with (n,) float sound that starts `sound_at_s` after the first frame.

    Args:
        path: A file, or a buffer with `container_format`.
        packets: Both fields of a frame in a packet with one stamp, or each in its own.
    """
    coded = field_pictures(pictures, **coding)  # type: ignore[arg-type]
    stream_bytes = io.BytesIO(b"".join(unit for units in coded for unit in units))
    target = path if isinstance(path, io.BytesIO) else str(path)
    with (
        av.open(stream_bytes, format="h264") as source,
        av.open(target, "w", format=container_format) as container,
    ):
        video = container.add_stream_from_template(source.streams.video[0])
        audio = container.add_stream(sound_codec, rate=rate, layout="mono") if sound is not None else None
        for number, units in enumerate(coded):
            parts = units if packets == "fields" else [b"".join(units)]
            for index, part in enumerate(parts):
                packet = av.Packet(part)
                packet.stream, packet.time_base = video, Fraction(1, 2 * fps)
                packet.pts = packet.dts = 2 * number + index + round(2 * fps * begin_s)
                packet.duration = 2 // len(parts)
                packet.is_keyframe = index == 0
                container.mux(packet)
        if audio is not None and sound is not None:
            piece = av.AudioFrame.from_ndarray(np.asarray(sound, np.float32).reshape(1, -1), "fltp", "mono")
            piece.sample_rate, piece.time_base = rate, Fraction(1, rate)
            piece.pts = round((begin_s + sound_at_s) * rate)
            for part in av.AudioResampler(audio.format.name, "mono", rate).resample(piece):
                container.mux(audio.encode(part))
            container.mux(audio.encode())
    return path


def write_hevc_fields(
    path: Path,
    pictures: Sequence[np.ndarray],
    *,
    bottom_first: bool = False,
    coding: str = "",
    **how: object,
) -> Path:
    """Write pictures (H, W, 3) at 25 a second, each as two pictures of half its height.

    Args:
        coding: More options of x265.
        how: More arguments of `write_media`.
    """
    order = (BOTTOM, TOP) if bottom_first else (TOP, BOTTOM)
    fields = [np.ascontiguousarray(picture[parity::2]) for picture in pictures for parity in order]
    parameters = f"interlace={'bff' if bottom_first else 'tff'}:log-level=none:{coding}".rstrip(":")
    times = np.arange(len(fields)) / 50
    options = {"preset": "ultrafast", "x265-params": parameters}
    return write_media(path, fields, times, codec="libx265", codec_options=options, **how)  # type: ignore[arg-type]
