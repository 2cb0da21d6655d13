"""Lists of tracks from the organisers of a challenge: one name per line."""

from pathlib import Path


def read_track_list(path: Path) -> list[tuple[int, str]]:
    """Line number and track of every non-blank line, in order; a final `.txt` is removed from names.

    Raises:
        OSError: the file cannot be read.
        UnicodeDecodeError: it is not UTF-8 (with or without a BOM).
    """
    lines = (line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines())
    return [(number, line.removesuffix(".txt")) for number, line in enumerate(lines, 1) if line]
