"""Read the organisers' sample for a submission: a sample file, or a list of the test tracks."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TextIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avfusion.corpora.layout import TRACK_NAME, name_fault
from avfusion.corpora.track_list import read_track_list
from avfusion.data.annotations import count_rows
from avfusion.runtime.errors import BadInputError

LOCATION = "image_location"
COLUMNS = (LOCATION, "valence", "arousal")
FAULTS_SHOWN = 3
_BLOCK_BYTES = 4_000_000
_IMAGE = r"(?P<location>(?P<track>[^,/\\]+)/(?P<frame>[0-9]{1,7})\.(?:jpe?g|png|JPE?G|PNG))"
_NEEDED = "rows '<track>/00001.jpg,valence,arousal' are needed (values may be blank)"


@dataclass(frozen=True)
class SampleRows:
    """The rows of a sample file, in its order.

    Attributes:
        tracks: names, in order of appearance.
        track: (R,) int32, indices into `tracks`.
        frame: (R,) int32, frame numbers.
        line: (R,) int32, line numbers in the file.
        location: R strings `<track>/<frame>.jpg`, as in the file.
    """

    tracks: tuple[str, ...]
    track: np.ndarray
    frame: np.ndarray
    line: np.ndarray
    location: pa.ChunkedArray
    notes: tuple[str, ...]


def read_blocks(stream: TextIO) -> Iterator[list[str]]:
    """The lines of a text file with their line ends, some megabytes at a time."""
    return iter(lambda: stream.readlines(_BLOCK_BYTES), [])


def read_sample_rows(path: Path) -> SampleRows:
    """Read a sample file with rows `<track>/<frame>.jpg`, with or without values.

    BOM, CRLF, blank lines, blank values, other orders of the columns, and a missing header are accepted.

    Raises:
        BadInputError: the file is missing, has another header, or has lines that name no frame; the message shows the
            first of these.
    """
    try:
        with open(path, encoding="utf-8-sig") as stream:
            first = stream.readline()
            place, headless, notes = _read_header(path, first)
            blocks = chain([[first]] if headless else [], read_blocks(stream))
            return _read_rows(path, blocks, 1 if headless else 2, place, notes)
    except UnicodeDecodeError:
        raise BadInputError(f"{path} is not UTF-8 text: {_NEEDED}") from None
    except OSError as error:
        raise BadInputError(f"sample {path}: {error.strerror}: a file with the rows to predict is needed") from None


def _read_header(path: Path, line: str) -> tuple[int, bool, list[str]]:
    """The column of the image location, whether the line is already a row, and notes."""
    names = tuple(name.strip().lower() for name in line.split(","))
    if LOCATION in names and len(set(names)) == len(names) and set(names) <= set(COLUMNS):
        usual = names == COLUMNS[: len(names)]
        note = f"the sample's columns are {', '.join(names)}: written in the order {', '.join(COLUMNS)}"
        return names.index(LOCATION), False, [] if usual else [note]
    if re.match(_IMAGE, line.strip()):
        return 0, True, [f"the sample has no header: '{','.join(COLUMNS)}' is written"]
    shown = line.strip()[:60]
    hint = ": a list of tracks goes with --format abaw3" if TRACK_NAME.fullmatch(shown) else ""
    raise BadInputError(f"{path}, line 1: {shown!r}: the header '{','.join(COLUMNS)}' is needed{hint}")


def _read_rows(path: Path, blocks: Iterable[list[str]], line: int, place: int, notes: list[str]) -> SampleRows:
    """Read lines, numbered from `line`, whose image location is in column `place`."""
    pattern = rf"^(?:[^,]*,){{{place}}}\s*{_IMAGE}\s*(?:,[^,]*){{0,{len(COLUMNS) - 1 - place}}}$"
    codes: dict[str, int] = {}
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    locations: list[pa.Array] = []
    faults: list[str] = []
    wrong = 0
    for lines in blocks:
        texts = pc.utf8_trim_whitespace(pa.array(lines, pa.string()))
        found = pc.extract_regex(texts, pattern)
        read = found.is_valid().to_numpy(zero_copy_only=False)
        strange = np.flatnonzero(~read & pc.greater(pc.utf8_length(texts), 0).to_numpy(zero_copy_only=False))
        wrong += len(strange)
        faults += [
            f"line {line + i}: {texts[i].as_py()[:60]!r}" for i in strange[: FAULTS_SHOWN - len(faults)].tolist()
        ]
        found = found.drop_null()
        names = found.field("track").dictionary_encode()
        known = [codes.setdefault(name, len(codes)) for name in names.dictionary.to_pylist()]
        track = np.array(known, np.int32)[names.indices.to_numpy()]
        frame = pc.cast(found.field("frame"), pa.int32()).to_numpy()
        parts.append((track, frame, np.flatnonzero(read).astype(np.int32) + line))
        locations.append(found.field("location"))
        line += len(lines)
    if wrong:
        more = f"; {wrong - len(faults)} more lines" if wrong > len(faults) else ""
        raise BadInputError(f"{path}, {'; '.join(faults)}{more}: {_NEEDED}")
    if not codes:
        raise BadInputError(f"{path} has no rows: {_NEEDED}")
    track, frame, numbers = (np.concatenate(column) for column in zip(*parts, strict=True))
    return SampleRows(tuple(codes), track, frame, numbers, pa.chunked_array(locations), tuple(notes))


def read_sample_tracks(path: Path) -> dict[str, int]:
    """The tracks of a submission of one file per track, with their numbers of rows (0: unknown).

    Args:
        path: A list with one track name per line, or a folder of `<track>.txt` files, whose rows are counted.

    Raises:
        BadInputError: `path` is neither, or has lines that are not track names.
    """
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix == ".txt")
        if not files:
            raise BadInputError(f"sample folder {path} has no <track>.txt")
        return {file.stem: count_rows(file) for file in files}
    try:
        listed = read_track_list(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise BadInputError(
            f"sample {path}: {reason}: a list of tracks, or a folder of <track>.txt, is needed"
        ) from None
    faults = [f"line {line}: {name[:60]!r}" for line, name in listed if name_fault(name)]
    names = dict.fromkeys((name for _, name in listed), 0)
    if faults or not names:
        shown = "; ".join(faults[:FAULTS_SHOWN]) or "it is empty"
        hint = ": rows of frames go with --format abaw5" if faults and "/" in faults[-1] else ""
        raise BadInputError(f"{path}, {shown}: one track name a line is needed{hint}")
    return names
