"""NAL units, of which packets and configurations of H.264 and HEVC are made, and their bits."""

import re
from collections.abc import Iterator

import av

_START_CODE = re.compile(rb"\x00\x00\x01")


class Bits:
    """Reads a NAL unit bit by bit.

    All methods raise ValueError at its end.
    """

    def __init__(self, unit: memoryview) -> None:
        content = bytes(unit).replace(b"\0\0\3", b"\0\0")  # without emulation prevention
        self._bits = bin(int.from_bytes(b"\1" + content))[3:]
        self._at = 0

    def read(self, count: int) -> int:
        """An unsigned number of so many bits."""
        bits = self._bits[self._at : self._at + count]
        if len(bits) < count:
            raise ValueError
        self._at += count
        return int(bits or "0", 2)

    def exp_golomb(self) -> int:
        """An unsigned number of variable length (Exp-Golomb)."""
        zeros = self._bits.index("1", self._at) - self._at
        self._at += zeros
        return self.read(zeros + 1) - 1

    def signed_exp_golomb(self) -> int:
        """A signed number of variable length (Exp-Golomb)."""
        code = self.exp_golomb()
        return (code + 1) // 2 if code % 2 else -(code // 2)


def units_of(packet: av.Packet, length_bytes: int) -> Iterator[memoryview]:
    """The units of a packet, each after its length in so many bytes; 0: after start codes."""
    data = memoryview(packet if packet.size else b"")
    return _by_length(data, length_bytes) if length_bytes else after_start_codes(data)


def _by_length(data: memoryview, length_bytes: int) -> Iterator[memoryview]:
    at = 0
    while at + length_bytes < len(data):
        begin = at + length_bytes
        at = begin + int.from_bytes(data[at:begin])
        yield data[begin:at]


def after_start_codes(data: memoryview) -> Iterator[memoryview]:
    """What follows each start code (annex B); a unit also holds those behind it."""
    for found in _START_CODE.finditer(data):
        yield data[found.end() :]
