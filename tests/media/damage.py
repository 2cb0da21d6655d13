"""Files that lack a part of their pictures or sound, or promise more than they hold."""

import io
import struct
from fractions import Fraction
from pathlib import Path

import av


def overwrite_sound(path: Path) -> None:
    """Fill the packets of a file's first audio track with zeros."""
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        for packet in (packet for packet in container.demux(audio=0) if packet.size):
            content[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    path.write_bytes(content)


def with_empty_samples(content: bytes, *numbers: int) -> bytes:
    """An MP4 of one stream, its index at the end, whose samples of these numbers (0-based) have 0 bytes."""
    with av.open(io.BytesIO(content)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    sizes = content.index(b"stsz") + 16
    changed = bytearray(content)
    for number in sorted(numbers, reverse=True):  # the index behind is found at its old place until it moves
        changed[sizes + 4 * number : sizes + 4 * number + 4] = bytes(4)
    for number in sorted(numbers, reverse=True):
        position, size = places[number]
        del changed[position : position + size]
    lost = sum(places[number][1] for number in numbers)
    box = changed.index(b"mdat") - 4
    changed[box : box + 4] = (int.from_bytes(changed[box : box + 4]) - lost).to_bytes(4)
    return bytes(changed)


def promising(content: bytes, factor: float) -> bytes:
    """An MP4 whose header gives all durations, and the number of frames, so many times too high."""
    changed = bytearray(content)
    for box, place in {b"mvhd": 16, b"tkhd": 20, b"mdhd": 16, b"elst": 8, b"stts": 8}.items():
        at = -1
        while (at := content.find(box, at + 1)) >= 0:
            begin = at + 4 + place
            (value,) = struct.unpack(">I", content[begin : begin + 4])
            changed[begin : begin + 4] = struct.pack(">I", round(value * factor))
    return bytes(changed)


def repeat_frames(source: Path, target: Path, coded_every: int) -> None:
    """Copy an MPEG-4 video at 25 fps; frames between every n-th are coded as repetitions of the one before."""
    with av.open(str(source)) as taken, av.open(str(target), "w") as container:
        video = container.add_stream_from_template(taken.streams.video[0])
        for number, packet in enumerate(packet for packet in taken.demux(video=0) if packet.size):
            data = bytes(packet)
            copy = av.Packet(_not_coded(data) if number % coded_every else data)
            copy.stream, copy.time_base, copy.duration = video, Fraction(1, 25), 1
            copy.pts, copy.dts, copy.is_keyframe = number, number, packet.is_keyframe
            container.mux(copy)


def _not_coded(data: bytes) -> bytes:
    """The packet with `vop_coded` 0, as encoders write where nothing moves (ISO/IEC 14496-2, 6.2.5)."""
    start = data.index(b"\0\0\1\xb6") + 4
    bits = f"{int.from_bytes(data[start : start + 8]):064b}"
    seconds = bits.index("0", 2)  # modulo_time_base, behind vop_coding_type
    head = bits[: seconds + 1 + 1 + 5 + 1] + "0"  # marker, vop_time_increment at 25 ticks, marker, vop_coded
    head += "0" + "1" * (-(len(head) + 1) % 8)
    return data[:start] + int(head, 2).to_bytes(len(head) // 8)
