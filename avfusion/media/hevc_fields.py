"""Which pictures of an HEVC stream are fields, and which two of them are shown as one frame.

Broadcasters code interlaced video so: each field is a picture of half the height. Section numbers are those of ITU-T
H.265.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import av
import numpy as np

from avfusion.media.nal_units import Bits, after_start_codes, units_of

FRAME, TOP, BOTTOM = 0, 1, 2
_PARITIES = {1: TOP, 2: BOTTOM, 9: TOP, 10: BOTTOM, 11: TOP, 12: BOTTOM}  # by pic_struct (D.3.3)
_SEQUENCE, _INFORMATION, _SLICES = 33, 39, range(32)  # types of NAL units (7.4.2.2)
_PICTURE_TIMING = 1  # type of supplemental information (D.2.1)
_PARAMETER_BYTES, _INFORMATION_BYTES = 2048, 512  # more than is read of either
_NEAR = 2.5  # usual steps between fields: two that are further apart do not make a frame


@dataclass(frozen=True)
class FieldRows:
    """The rows of M coded pictures in presentation order.

    Attributes:
        rows: (M,) int64, number of the row; two fields that make a frame share one.
        kinds: (M,) int64, `FRAME`, `TOP` or `BOTTOM`.
    """

    rows: np.ndarray
    kinds: np.ndarray

    @property
    def firsts(self) -> np.ndarray:
        """(N,) int64, the first picture of each row."""
        return np.unique(self.rows, return_index=True)[1]


class HevcFields:
    """Follows the packets of an HEVC stream in decoding order."""

    def __init__(self, extradata: bytes) -> None:
        """Take the codec's configuration: parameter sets after start codes, or an `hvcC` record."""
        record = extradata[:1] == b"\x01"
        self._length_bytes = (extradata[21] & 3) + 1 if record and len(extradata) > 21 else 0
        self._coded: bool | None = None  # whether pictures are fields, by the latest sequence parameter set
        self._kinds: list[int] = []
        self._leading = FRAME  # parity of the fields that begin a frame
        self._stamp: int | None = None  # of the latest packet
        for unit in _of_record(extradata) if record else after_start_codes(memoryview(extradata)):
            self._learn(unit)

    @property
    def possible(self) -> bool:
        """Whether the stream may have fields: its configuration says so, or says nothing."""
        return self._coded is not False

    def add(self, packet: av.Packet) -> int | None:
        """Take the next packet, and give its presentation stamp.

        Where a transport stream has both fields of a frame behind one stamp, the second gets its own. Where a stream
        begins within a frame, its first keyframe tells which field leads.
        """
        kind = FRAME
        for unit in units_of(packet, self._length_bytes):
            if _kind(unit) in _SLICES:
                break
            if self._coded and _kind(unit) == _INFORMATION:
                kind = _PARITIES.get(_pic_struct(unit), kind)
            self._learn(unit)
        stamp = packet.pts
        if stamp is None and self._stamp is not None and self._kinds[-1] == TOP + BOTTOM - kind:
            stamp = self._stamp + max(1, (packet.duration or 0) // 2)
        self._kinds.append(kind)
        self._stamp = stamp
        if packet.is_keyframe:
            self._leading = self._leading or kind
        return stamp

    def rows(self, order: np.ndarray, ticks: np.ndarray) -> FieldRows | None:
        """Pair each field that leads with the next one if that has the other parity; None without fields.

        Args:
            order: (M,) int64, the packet of each picture in presentation order.
            ticks: (M,) their times.
        """
        if not any(self._kinds):
            return None
        kinds, steps = np.array(self._kinds)[order], np.diff(ticks)
        leading = self._leading or next(kind for kind in kinds if kind)
        second = np.zeros(len(kinds), bool)
        if len(steps):
            second[1:] = (kinds[:-1] == leading) & (kinds[1:] == TOP + BOTTOM - leading)
            second[1:] &= steps < _NEAR * np.median(steps)
        return FieldRows(np.cumsum(~second) - 1, kinds)

    def _learn(self, unit: memoryview) -> None:
        """Keep what a sequence parameter set says."""
        if _kind(unit) == _SEQUENCE:
            try:
                self._coded = _coded_as_fields(Bits(unit[2:_PARAMETER_BYTES]))
            except ValueError:  # cut or damaged
                return


def _kind(unit: memoryview) -> int:
    """Type of a unit of the base layer, -1 for others (7.3.1.2)."""
    return unit[0] >> 1 if len(unit) > 2 and not unit[0] & 1 and unit[1] < 8 else -1


def _pic_struct(unit: memoryview) -> int:
    """How the picture is shown, -1 if the unit does not say (7.3.5, D.2.3)."""
    content = bytes(unit[2:_INFORMATION_BYTES]).partition(b"\0\0\1")[0].replace(b"\0\0\3", b"\0\0")
    at = 0
    while at + 2 < len(content):
        kind, at = _number(content, at)
        size, at = _number(content, at)
        if kind == _PICTURE_TIMING and at < len(content):
            return content[at] >> 4
        at += size
    return -1


def _number(content: bytes, at: int) -> tuple[int, int]:
    """The number at a position, in bytes of which all but the last are 255, and the position behind."""
    total = 0
    while content[at : at + 1] == b"\xff":
        total, at = total + 255, at + 1
    return total + sum(content[at : at + 1]), at + 1


def _coded_as_fields(bits: Bits) -> bool:
    """field_seq_flag of a sequence parameter set: it stands behind nearly all else (7.3.2.2.1, E.2.1)."""
    bits.read(4)
    layers = bits.read(3)  # sps_max_sub_layers_minus1
    bits.read(1 + 88 + 8)  # sps_temporal_id_nesting_flag, profile, level
    present = [(bits.read(1), bits.read(1)) for _ in range(layers)]
    bits.read(2 * (8 - layers) if layers else 0)
    for profile, level in present:
        bits.read(88 * profile + 8 * level)
    bits.exp_golomb()  # its number
    if bits.exp_golomb() == 3:  # chroma_format_idc
        bits.read(1)
    _skip(bits, 2)  # size
    _skip(bits, 4 * bits.read(1))  # conformance window
    _skip(bits, 2)  # bit depths
    order_bits = bits.exp_golomb() + 4  # log2_max_pic_order_cnt_lsb_minus4
    _skip(bits, 3 * (layers + 1) if bits.read(1) else 3)  # sub-layer ordering
    _skip(bits, 6)  # sizes of blocks
    if bits.read(1) and bits.read(1):
        _skip_scaling_lists(bits)
    bits.read(2)
    if bits.read(1):  # pcm_enabled_flag
        bits.read(8)
        _skip(bits, 2)
        bits.read(1)
    _skip_reference_sets(bits)
    for _ in range(bits.exp_golomb() if bits.read(1) else 0):  # long-term references
        bits.read(order_bits + 1)
    bits.read(2)
    if not bits.read(1):  # vui_parameters_present_flag
        return False
    if bits.read(1) and bits.read(8) == 255:  # aspect ratio
        bits.read(32)
    bits.read(bits.read(1))  # overscan
    if bits.read(1):  # video signal
        bits.read(4)
        bits.read(24 * bits.read(1))
    _skip(bits, 2 * bits.read(1))  # chroma location
    bits.read(1)
    return bits.read(1) == 1


def _skip(bits: Bits, count: int) -> None:
    for _ in range(count):
        bits.exp_golomb()


def _skip_scaling_lists(bits: Bits) -> None:
    """7.3.4."""
    for size in range(4):
        for _ in range(2 if size == 3 else 6):
            coded = bits.read(1)
            _skip(bits, min(64, 16 << 2 * size) + (size > 1) if coded else 1)


def _skip_reference_sets(bits: Bits) -> None:
    """Short-term ones, each after its own or as a change of the one before (7.3.7)."""
    pictures = 0  # of the set before
    for index in range(bits.exp_golomb()):
        if index and bits.read(1):
            bits.read(1)
            bits.exp_golomb()
            pictures = sum(bits.read(1) or bits.read(1) for _ in range(pictures + 1))
        else:
            pictures = bits.exp_golomb() + bits.exp_golomb()
            for _ in range(pictures):
                bits.exp_golomb()
                bits.read(1)


def _of_record(record: bytes) -> Iterator[memoryview]:
    """The parameter sets of an `hvcC` record (ISO/IEC 14496-15, 8.3.3.1)."""
    data, at = memoryview(record), 23
    for _ in range(record[22] if len(record) > 22 else 0):
        count, at = int.from_bytes(data[at + 1 : at + 3]), at + 3
        for _ in range(count):
            if at >= len(data):
                return
            begin = at + 2
            at = begin + int.from_bytes(data[at:begin])
            yield data[begin:at]
