"""Lists of tracks as the organisers of a challenge hand them out: one name a line."""

from pathlib import Path


def read_track_list(path: Path) -> list[tuple[int, str]]:
    """Line and track of every line that is not blank, in order; names may end in `.txt`, which is left out.

    Raises:
        OSError: there is no such file.
        UnicodeDecodeError: it is no text in UTF-8 (with or without a BOM).
    """
    lines = (line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines())
    return [(number, line.removesuffix(".txt")) for number, line in enumerate(lines, 1) if line]
