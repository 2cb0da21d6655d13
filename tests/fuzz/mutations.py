"""Damage to files: bits turned, pieces cut, doubled, moved, numbers and headers falsified; drawn by hypothesis."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import strategies as st

# What parsers forget: empty, one, the ends of signed and unsigned numbers.
NUMBERS = (0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF)
_TAG = re.compile(rb"[A-Za-z][A-Za-z0-9 ]{3}")  # names of boxes and chunks in MP4, MOV, AVI, WAV
_KINDS = (
    *("flip", "number", "size", "size", "delete", "double", "move", "fill", "token", "token", "truncate"),
    *("header", "append"),
)


class Wound(NamedTuple):
    """One kind of damage: where, over how many bytes, and a number from 0 to 255 that decides the rest."""

    kind: str
    at: int
    length: int
    value: int


WOUNDS = st.builds(
    Wound,
    kind=st.sampled_from(_KINDS),
    at=st.integers(0, 1 << 16),
    length=st.one_of(st.integers(0, 16), st.integers(0, 4096)),
    value=st.integers(0, 255),
)


@st.composite
def damaged(draw: st.DrawFn, seeds: Sequence[bytes], tokens: Sequence[bytes] = (b"\0",)) -> bytes:
    """One of the seeds with one to six wounds; `tokens` are pieces that get written into it."""
    content = draw(st.sampled_from(seeds))
    for wound in draw(st.lists(WOUNDS, min_size=1, max_size=6)):
        content = wounded(content, wound, seeds, tokens)
    return content


def wounded(content: bytes, wound: Wound, others: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
    """The content with one wound; an offset past the end counts on from the start."""
    kind, at, length, value = wound
    at %= len(content) + 1
    before, piece, after = content[:at], content[at : at + length], content[at + length :]
    other, token = others[value % len(others)], tokens[value % len(tokens)]
    match kind:
        case "flip":
            return before + bytes(byte ^ (value or 1) for byte in piece[:4]) + piece[4:] + after
        case "number":
            return _falsified(content, at, length, value)
        case "size":
            tags = [found.start() for found in _TAG.finditer(content)] or [0]
            return _falsified(content, max(0, tags[wound.at % len(tags)] + (-4, 4, 8)[value % 3]), length, value)
        case "delete":
            return before + after
        case "double":
            return before + piece * (2 + value % 4) + after
        case "move":
            to = value * 257 % (len(before + after) + 1)
            return (before + after)[:to] + piece + (before + after)[to:]
        case "fill":
            return before + bytes([value]) * len(piece) + after
        case "token":
            return before + token + (content[at + len(token) :] if length % 2 else content[at:])
        case "truncate":
            return before
        case "header":
            return other[:length] + content[length:]
        case "append":
            return content + (other if length % 2 else other[at % (len(other) + 1) :])
    raise ValueError(kind)


def _falsified(content: bytes, at: int, length: int, value: int) -> bytes:
    """One, two, four or eight bytes at `at` replaced by a number that parsers forget, of either byte order."""
    size = (1, 2, 4, 8)[length % 4]
    number = NUMBERS[value % len(NUMBERS)] & ((1 << 8 * size) - 1)
    return content[:at] + number.to_bytes(size, "little" if value & 0x80 else "big") + content[at + size :]
