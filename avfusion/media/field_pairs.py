"""Which packets of an H.264 stream hold the second field of a frame whose first field is in the packet before.

Camcorders (AVCHD) and broadcasters code frames as two fields each (PAFF), and a packet may hold a single field. Section
numbers are those of ITU-T H.264.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import av

from avfusion.media.nal_units import Bits, after_start_codes, units_of

_PARAMETER_BYTES, _SLICE_BYTES = 512, 32  # more than is read of either
_SEQUENCE, _PICTURE = 7, 8  # types of NAL units: parameter sets (7.4.1)
_SLICES = frozenset({1, 2, 5})
_CHROMA_PROFILES = frozenset({44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244})  # 7.3.2.1.1


@dataclass(frozen=True)
class _Sequence:
    """What a sequence parameter set says of its slices' headers."""

    frame_num_bits: int
    separate_planes: bool
    fields: bool


class FieldPairs:
    """Follows the packets of an H.264 stream in decoding order."""

    def __init__(self, extradata: bytes) -> None:
        """Take the codec's configuration: parameter sets after start codes, or an `avcC` record."""
        record = extradata[:1] == b"\x01"
        self._length_bytes = (extradata[4] & 3) + 1 if record and len(extradata) > 4 else 0
        self._sequences: dict[int, _Sequence] = {}
        self._pictures: dict[int, int] = {}  # number of the sequence parameter set by that of the picture parameter set
        self._first: tuple[int, int] | None = None  # frame_num and parity of a field whose frame is not complete yet
        for unit in _of_record(extradata) if record else after_start_codes(memoryview(extradata)):
            self._learn(unit)

    @property
    def possible(self) -> bool:
        """Whether the stream may have fields."""
        return any(sequence.fields for sequence in self._sequences.values())

    def completes(self, packet: av.Packet) -> bool:
        """Whether the packet is the second field of the frame that the packet before began: it has the same frame_num
        and the other parity (7.4.1.2.4), as FFmpeg's decoder pairs fields, too.
        """
        found: set[tuple[int, int] | None] = set()
        for unit in units_of(packet, self._length_bytes):
            if unit and unit[0] & 31 in _SLICES:
                found.add(self._field(unit))
            else:
                self._learn(unit)
        first, self._first = self._first, None
        field = found.pop() if len(found) == 1 else None  # two fields in a packet are a whole frame
        if field and first == (field[0], 1 - field[1]):
            return True
        self._first = field
        return False

    def _learn(self, unit: memoryview) -> None:
        """Keep a parameter set."""
        kind = unit[0] & 31 if unit else 0
        if kind not in (_SEQUENCE, _PICTURE):
            return
        bits = Bits(unit[1:_PARAMETER_BYTES])
        try:
            if kind == _SEQUENCE:
                number, sequence = _sequence(bits)
                self._sequences[number] = sequence
            else:
                self._pictures[bits.exp_golomb()] = bits.exp_golomb()
        except ValueError:  # cut or damaged
            return

    def _field(self, unit: memoryview) -> tuple[int, int] | None:
        """frame_num and parity (0: top) of a slice of a field; None for a slice of a frame (7.3.3)."""
        bits = Bits(unit[1:_SLICE_BYTES])
        try:
            bits.exp_golomb()  # first_mb_in_slice
            bits.exp_golomb()  # slice_type
            sequence = self._sequences.get(self._pictures.get(bits.exp_golomb(), -1))
            if sequence is None or not sequence.fields:
                return None
            bits.read(2 if sequence.separate_planes else 0)
            frame_num = bits.read(sequence.frame_num_bits)
            return (frame_num, bits.read(1)) if bits.read(1) else None
        except ValueError:
            return None


def _sequence(bits: Bits) -> tuple[int, _Sequence]:
    """Number and content of a sequence parameter set (7.3.2.1.1)."""
    profile, _ = bits.read(8), bits.read(16)
    number, separate = bits.exp_golomb(), False
    if profile in _CHROMA_PROFILES:
        chroma = bits.exp_golomb()
        separate = chroma == 3 and bits.read(1) == 1
        bits.exp_golomb()  # bit_depth_luma_minus8
        bits.exp_golomb()  # bit_depth_chroma_minus8
        bits.read(1)  # qpprime_y_zero_transform_bypass_flag
        if bits.read(1):
            _skip_scaling_lists(bits, 12 if chroma == 3 else 8)
    frame_num_bits = bits.exp_golomb() + 4
    order = bits.exp_golomb()  # pic_order_cnt_type
    if order == 0:
        bits.exp_golomb()
    elif order == 1:
        bits.read(1)
        bits.exp_golomb()
        bits.exp_golomb()
        for _ in range(min(bits.exp_golomb(), 255)):
            bits.exp_golomb()
    bits.exp_golomb()  # max_num_ref_frames
    bits.read(1)  # gaps_in_frame_num_value_allowed_flag
    bits.exp_golomb()  # width
    bits.exp_golomb()  # height
    return number, _Sequence(frame_num_bits, separate, fields=bits.read(1) == 0)  # frame_mbs_only_flag


def _skip_scaling_lists(bits: Bits, count: int) -> None:
    for index in range(count):
        last = following = 8
        for _ in range((16 if index < 6 else 64) if bits.read(1) else 0):
            if following:
                following = (last + bits.signed_exp_golomb()) % 256
            last = following or last


def _of_record(record: bytes) -> Iterator[memoryview]:
    """The parameter sets of an `avcC` record (ISO/IEC 14496-15, 5.3.3.1)."""
    data, at = memoryview(record), 5
    for mask in (31, 255):
        for _ in range(data[at] & mask if at < len(data) else 0):
            length = int.from_bytes(data[at + 1 : at + 3])
            yield data[at + 3 : at + 3 + length]
            at += 2 + length
        at += 1
