"""Predictions of one person as a file: CSV, Parquet, JSON, or the text of the ABAW challenge."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avfusion.inference.columns import BANDS, COLUMNS, SPREADS
from avfusion.runtime.atomic import atomic_path

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = {"csv": ".csv", "parquet": ".parquet", "json": ".json", "abaw": ".txt"}
_DECIMALS = 6


def write_predictions(
    path: str | Path,
    predictions: "pd.DataFrame",
    form: str,
    origin: Mapping[str, str],
    notes: Sequence[str] = (),
) -> None:
    """Write predictions, one row per video frame (not atomically: to the caller's temporary path).

    `csv`: numbers with 6 decimals, booleans true/false, blank for unknown numbers. `parquet`: the same columns with
    their types. `json`: one object, the origin, `notes`, and under `frames` a list of one object per row. `abaw`: the
    challenge's text, only `valence,arousal` with 5 decimals.

    Args:
        predictions: The columns `COLUMNS`, and `SPREADS` and `BANDS` if known.
        form: A key of `SUFFIXES`.
        origin: Their provenance, kept in Parquet's metadata and in JSON.
        notes: What readers must know about model and video, kept likewise.
    """
    columns = [*COLUMNS, *(name for name in (*SPREADS, *BANDS) if name in predictions.columns)]
    _WRITERS[form](Path(path), predictions.loc[:, columns], {**origin, "notes": list(notes)})


def write_frames_csv(path: str | Path, predictions: "pd.DataFrame") -> None:
    """Write predictions as CSV (as `write_predictions`), whole or not at all."""
    with atomic_path(path) as temporary:
        write_predictions(temporary, predictions, "csv", {})


def _csv(path: Path, predictions: "pd.DataFrame", origin: Mapping[str, object]) -> None:
    table = predictions.copy()
    for column in ("audio_present", "visual_present"):
        table[column] = table[column].map({True: "true", False: "false"})
    table.to_csv(path, index=False, float_format=f"%.{_DECIMALS}f", lineterminator="\n")


def _parquet(path: Path, predictions: "pd.DataFrame", origin: Mapping[str, object]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(predictions, preserve_index=False)
    table = table.replace_schema_metadata({"avfusion": json.dumps(dict(origin), sort_keys=True)})
    pq.write_table(table, path)


def _json(path: Path, predictions: "pd.DataFrame", origin: Mapping[str, object]) -> None:
    columns = [_plain(predictions[name].to_numpy()) for name in predictions.columns]
    rows = ",\n".join(
        json.dumps(dict(zip(predictions.columns, row, strict=True))) for row in zip(*columns, strict=True)
    )
    head = json.dumps(dict(origin), sort_keys=True, indent=1, ensure_ascii=False).removeprefix("{").removesuffix("\n}")
    path.write_text(f'{{{head},\n "frames": [\n{rows}\n]}}\n', encoding="utf-8", newline="\n")


def _plain(values: np.ndarray) -> list[object]:
    """Values for JSON: NaN becomes null."""
    if values.dtype.kind != "f":
        return list(values.tolist())
    return [round(value, _DECIMALS) if np.isfinite(value) else None for value in values.astype(np.float64).tolist()]


def _abaw(path: Path, predictions: "pd.DataFrame", origin: Mapping[str, object]) -> None:
    from avfusion.challenge.submission_files import value_table, write_table

    write_table(path, value_table(predictions[["valence", "arousal"]].to_numpy()))


_WRITERS: dict[str, Callable[[Path, "pd.DataFrame", Mapping[str, object]], None]] = {
    "csv": _csv,
    "parquet": _parquet,
    "json": _json,
    "abaw": _abaw,
}
