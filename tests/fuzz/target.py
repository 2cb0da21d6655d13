"""What is fuzzed: a reader of files from outside, the files that are damaged for it, and words that it knows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

SEPARATORS = (
    b"\n",
    b"\r\n",
    b"\r",
    b",",
    b";",
    b"\t",
    b" ",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xc2\x85",
    b"\xe2\x80\xa8",
)


@dataclass(frozen=True)
class Target:
    """A reader under test.

    Attributes:
        file: Name of the damaged file.
        read: Reads it; an AVFusionError that names the file is a right answer, any other exception is none.
        seeds: Makes the whole files that are damaged.
        tokens: Pieces that are written into them.
    """

    file: str
    read: Callable[[Path], object]
    seeds: Callable[[], Sequence[bytes]]
    tokens: Sequence[bytes] = (b"\0", b"\xff", b"\n", b",")
