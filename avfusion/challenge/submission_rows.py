"""Choose the rows of a submission, with or without the organisers' sample, and fill them with predictions."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avfusion.challenge.split_predictions import SplitPredictions, some
from avfusion.challenge.submission_files import value_table
from avfusion.challenge.submission_sample import SampleRows
from avfusion.runtime.errors import BadInputError

Tracks = Mapping[str, np.ndarray]  # (N, 2) by name


def all_tracks(predictions: SplitPredictions) -> dict[str, int]:
    """The tracks of a submission without a sample: all tracks, with unknown numbers of rows (0)."""
    return dict.fromkeys([*predictions.tracks, *predictions.missing], 0)


def frames_by_track(rows: SampleRows) -> dict[str, int]:
    """The last frame of each track in a sample."""
    last = np.zeros(len(rows.tracks), int)
    np.maximum.at(last, rows.track, rows.frame)
    return dict(zip(rows.tracks, last.tolist(), strict=True))


def rows_by_track(rows: SampleRows) -> dict[str, str]:
    """Number and first line of the rows of each track in a sample, in words."""
    _, first, count = np.unique(rows.track, return_index=True, return_counts=True)
    words = [f" ({n} rows, the first in line {rows.line[i]})" for i, n in zip(first, count, strict=True)]
    return dict(zip(rows.tracks, words, strict=True))


def refuse_unknown_tracks(predictions: SplitPredictions, sample: Path, named: Mapping[str, str]) -> None:
    """Check that the tracks named by a sample are in the split; the values of `named` are added to messages.

    Raises:
        BadInputError: some tracks are not in the split.
    """
    known = all_tracks(predictions)
    unknown = [name + words for name, words in named.items() if name not in known]
    if unknown:
        raise BadInputError(
            f"{sample} names {len(unknown)} of {len(named)} tracks that are not in the split {predictions.split}: "
            f"{some(unknown)}: is it the sample of this split and challenge?"
        )


def complete_tracks(
    predictions: SplitPredictions, wanted: Mapping[str, int], fill: bool
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Predictions of the wanted tracks, sorted, and notes.

    Args:
        wanted: Numbers of frames by track; 0 without a sample.
        fill: Write (0, 0) in every frame of tracks without predictions.

    Raises:
        BadInputError: there are tracks without predictions and `fill` is not set, or their number of frames is unknown.
    """
    tracks = {name: predictions.tracks[name] for name in wanted if name in predictions.tracks}
    absent = {name: wanted[name] or predictions.missing[name] for name in wanted if name not in tracks}
    if absent and not fill:
        raise BadInputError(
            f"{len(absent)} of {len(wanted)} tracks have no features, so no predictions: {some(list(absent))}: "
            "`avfusion doctor` says why; repair them and run `dvc repro`, or give them 0, 0 with --fill-missing"
        )
    if unknown := [name for name, frames in absent.items() if not frames]:
        raise BadInputError(
            f"the number of rows of {some(unknown)} is unknown, since the video is unreadable: "
            "give a sample with these rows by --sample"
        )
    tracks |= {name: np.zeros((frames, 2), np.float32) for name, frames in absent.items()}
    notes = [f"{len(absent)} tracks without predictions have 0, 0 in every row: {some(list(absent))}"]
    return dict(sorted(tracks.items())), (notes if absent else []) + _unwanted(predictions, wanted)


def all_rows(tracks: Tracks) -> pa.Table:
    """All frames of all tracks, as `<track>/00001.jpg` and values."""
    locations = []
    for name, values in tracks.items():
        numbers = pc.utf8_lpad(pc.cast(pa.array(np.arange(1, len(values) + 1)), pa.string()), 5, "0")
        locations.append(pc.binary_join_element_wise(f"{name}/", numbers, ".jpg", ""))
    return value_table(np.concatenate(list(tracks.values())), pa.chunked_array(locations))


def sample_rows(path: Path, rows: SampleRows, tracks: Tracks) -> tuple[pa.Table, list[str]]:
    """Exactly the rows of the sample at `path`, in its order, and notes.

    The frame after a track's last one gets the values of the last: decoders often differ by one frame.

    Raises:
        BadInputError: rows name frames that the tracks do not have.
    """
    lengths = np.array([len(tracks[name]) for name in rows.tracks])
    starts, length = np.cumsum(lengths) - lengths, lengths[rows.track]
    bad = np.flatnonzero((rows.frame < 1) | (rows.frame > length + 1))
    if len(bad):
        lines = [f"line {rows.line[i]}: {rows.location[i]} (frames 1 to {length[i]} exist)" for i in bad[:3].tolist()]
        more = f"; {len(bad) - len(lines)} more lines" if len(bad) > len(lines) else ""
        raise BadInputError(f"{path} names {len(bad)} frames that the videos do not have: {'; '.join(lines)}{more}")
    index = starts[rows.track] + np.minimum(rows.frame, length) - 1
    unused = np.ones(lengths.sum(), bool)
    unused[index] = False
    notes = [*rows.notes, *_differences(int((rows.frame > length).sum()), int(unused.sum()))]
    if repeats := len(rows.location) - pc.count_distinct(rows.location).as_py():
        notes.append(f"{repeats} rows of the sample repeat a frame: they are written as often")
    values = np.concatenate([tracks[name] for name in rows.tracks])[index]
    return value_table(values, rows.location), notes


def track_rows(tracks: Tracks, wanted: Mapping[str, int], sample: Path | None) -> tuple[dict[str, pa.Table], list[str]]:
    """A table per track with as many rows as wanted (0: one per frame), and notes.

    For one row more than frames the last values are repeated, as in `sample_rows`.

    Raises:
        BadInputError: a sample has more than one row too many.
    """
    rows = {name: wanted[name] or len(values) for name, values in tracks.items()}
    missing = {name: rows[name] - len(values) for name, values in tracks.items()}
    short = [f"{name} ({rows[name]} rows, {len(tracks[name])} frames)" for name in tracks if missing[name] > 1]
    if short:
        raise BadInputError(f"{sample} has more rows than the videos have frames in {len(short)} tracks: {some(short)}")
    last = {name: np.minimum(np.arange(rows[name]), len(values) - 1) for name, values in tracks.items()}
    tables = {name: value_table(values[last[name]]) for name, values in tracks.items()}
    return tables, _differences(sum(n == 1 for n in missing.values()), -sum(min(n, 0) for n in missing.values()))


def _differences(repeated: int, left_out: int) -> list[str]:
    notes = [f"{repeated} rows are one past the last frame of their video: they have its values"] if repeated else []
    return notes + ([f"{left_out} frames are not in the sample: left out"] if left_out else [])


def _unwanted(predictions: SplitPredictions, wanted: Mapping[str, int]) -> list[str]:
    extra = [name for name in predictions.tracks if name not in wanted]
    return [f"{len(extra)} tracks are not in the sample: left out ({some(extra)})"] if extra else []
