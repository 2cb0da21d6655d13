"""`avfusion submit`: the predictions of a split as files of the ABAW challenge (arXiv 2202.10659, 2303.01498).

Up to ABAW3 a folder with one `<track>.txt` per track, `valence,arousal` of every video frame; since ABAW5 one file with
rows `<track>/00001.jpg,valence,arousal`, in the order of the organisers' sample file.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from avfusion.challenge.split_predictions import SplitPredictions, load_split_predictions
from avfusion.challenge.submission_files import Written, write_file, write_folder
from avfusion.challenge.submission_rows import (
    all_rows,
    all_tracks,
    complete_tracks,
    frames_by_track,
    refuse_unknown_tracks,
    rows_by_track,
    sample_rows,
    track_rows,
)
from avfusion.challenge.submission_sample import read_sample_rows, read_sample_tracks
from avfusion.corpora.notes import corpus_notes
from avfusion.params.params import load_params
from avfusion.runtime.errors import AVFusionError, BadInputError

Format = Literal["abaw3", "abaw5"]


@dataclass(frozen=True)
class Submission:
    """Summary of a written submission.

    Attributes:
        valence, arousal: lowest and highest value in the files.
        smoothing: seconds of the uniform filter for valence and arousal; None: not smoothed.
        validation: mean of the pooled validation CCCs of the model, `smoothed` and `unsmoothed`; empty: unknown.
    """

    path: str
    format: Format
    split: str
    tracks: int
    rows: int
    valence: tuple[float, float]
    arousal: tuple[float, float]
    smoothing: tuple[float, float] | None
    model: str
    model_digest: str
    validation: dict[str, float]
    notes: tuple[str, ...]

    def to_json(self) -> str:
        """The summary as JSON."""
        return json.dumps(asdict(self), sort_keys=True, indent=2, ensure_ascii=False)

    def to_text(self) -> str:
        """The summary as text, without the notes."""
        windows = "none" if self.smoothing is None else "uniform, {:g} s (valence) and {:g} s (arousal)"
        scores = " and ".join(f"{score:.3f} {kind}" for kind, score in sorted(self.validation.items()))
        lines = {
            "tracks": f"{self.tracks} of the split {self.split}",
            "rows": f"{self.rows}",
            "valence": f"{self.valence[0]:+.5f} to {self.valence[1]:+.5f}",
            "arousal": f"{self.arousal[0]:+.5f} to {self.arousal[1]:+.5f}",
            "smoothing": windows.format(*(self.smoothing or ())) + (f"; validation CCC {scores}" if scores else ""),
            "model": f"{self.model} ({self.model_digest[:12]})",
            "written": f"{self.path} ({self.format}), read back and validated",
        }
        return "\n".join(f"{name:<12} {text}" for name, text in lines.items())


def submit(
    root: Path,
    out: Path,
    *,
    split: Literal["val", "test"] = "test",
    form: Format = "abaw5",
    sample: Path | None = None,
    smooth: bool = True,
    fill_missing: bool = False,
    force: bool = False,
) -> Submission:
    """Write and validate the challenge files of a split.

    Args:
        out: The folder (abaw3) or file (abaw5) to write.
        sample: From the organisers. abaw5: the sample file, whose rows are written in its order. abaw3: the list of
            tracks, or a folder of sample files, which also give the number of rows.
        smooth: Smooth with the windows of params.yaml, as in the published results.
        fill_missing: Write (0, 0) in every frame of tracks without predictions.

    Raises:
        BadInputError: the predictions are missing or outdated; the sample cannot be read or names tracks or frames that
            were not predicted; a track has no predictions; `out` holds something else.
        AVFusionError: the files could not be written, or their validation failed.
    """
    params = load_params(root / "params.yaml", ["corpus", "evaluate"])
    config = params.evaluate
    windows = config.windows_s if smooth else None
    predictions = load_split_predictions(root, split, windows)
    if sample is not None and sample.exists() and out.exists() and sample.samefile(out):
        raise BadInputError(f"{out} is the sample: choose another -o")
    write = _write_one if form == "abaw5" else _write_each
    try:
        tracks, written, notes = write(predictions, out, sample, fill_missing, force)
    except OSError as error:
        raise AVFusionError(f"{error.filename or out} cannot be written: {error.strerror or error}") from None
    valence, arousal = zip(written.lowest, written.highest, strict=True)
    return Submission(
        path=str(out),
        format=form,
        split=split,
        tracks=tracks,
        rows=written.rows,
        valence=valence,
        arousal=arousal,
        smoothing=windows,
        model=predictions.model,
        model_digest=predictions.digest,
        validation=_validation_scores(root, predictions.model),
        notes=(*corpus_notes(params.corpus.name), *notes),
    )


def _write_one(
    predictions: SplitPredictions, out: Path, sample: Path | None, fill: bool, force: bool
) -> tuple[int, Written, list[str]]:
    """Write the format of one file; return the number of tracks, the rows written, and notes."""
    if sample is None:
        tracks, notes = complete_tracks(predictions, all_tracks(predictions), fill)
        return len(tracks), write_file(out, all_rows(tracks), force=force), notes
    rows = read_sample_rows(sample)
    refuse_unknown_tracks(predictions, sample, rows_by_track(rows))
    tracks, notes = complete_tracks(predictions, frames_by_track(rows), fill)
    table, found = sample_rows(sample, rows, tracks)
    return len(tracks), write_file(out, table, force=force), notes + found


def _write_each(
    predictions: SplitPredictions, out: Path, sample: Path | None, fill: bool, force: bool
) -> tuple[int, Written, list[str]]:
    """Write the format of one file per track; return as `_write_one`."""
    wanted = all_tracks(predictions)
    if sample is not None:
        wanted = read_sample_tracks(sample)
        refuse_unknown_tracks(predictions, sample, dict.fromkeys(wanted, ""))
    tracks, notes = complete_tracks(predictions, wanted, fill)
    tables, found = track_rows(tracks, wanted, sample)
    return len(tracks), write_folder(out, tables, force=force), notes + found


def _validation_scores(root: Path, model: str) -> dict[str, float]:
    try:
        metrics: Any = json.loads((root / "reports" / "evaluate" / "metrics.json").read_text(encoding="utf-8"))
        entry = metrics["val"][model]
        return {"unsmoothed": float(entry["ccc_mean"]), "smoothed": float(entry["smoothed"]["ccc_mean"])}
    except (OSError, ValueError, KeyError, TypeError):  # only information
        return {}
