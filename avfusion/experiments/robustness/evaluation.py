"""Scores under all conditions, on tracks that are chosen already, and the files of reports/robustness/."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avfusion.data.settings import GeometrySettings
from avfusion.data.track_data import TrackData
from avfusion.experiments.evaluate import predict_tracks
from avfusion.experiments.robustness.disturbed_files import read_disturbed
from avfusion.experiments.robustness.scores import (
    COLUMNS,
    Disturbed,
    dropout_gain,
    predict_conditions,
    score_rows,
    thin_out,
)
from avfusion.fusion.base import FusionModel
from avfusion.reports.plots.robustness import plot_robustness
from avfusion.reports.report import write_csv, write_report
from avfusion.scoring.intervals import TOO_FEW_GROUPS, effective_groups, few_note
from avfusion.scoring.metrics import scored_frames
from avfusion.training.determinism import make_deterministic

ABSENT_SHARE = 0.5  # at which modality dropout is judged


@dataclass(frozen=True)
class Variant:
    """The main model trained with another share of modality dropout: its name, and both shares."""

    name: str
    rate: float
    main_rate: float


def write_robustness(
    root: Path,
    tracks: Sequence[TrackData],
    models: Mapping[str, FusionModel],
    conditions: Sequence[str],
    *,
    split: str,
    geometry: GeometrySettings,
    stride: int,
    ratio: int,
    mode: Any,
    truth: Path | None,
    kinds: Sequence[str],
    voices: Sequence[str],
    seed: int,
    variant: Variant | None,
    threads: int,
) -> None:
    """Predict the tracks under all conditions, score, and write reports/robustness/; `models` begins with the main one.

    Args:
        tracks: with every clip of their feature files, which has `ratio` clips for each of the stage's stride.
        conditions: names of those whose features lie in data/robustness/.
        kinds: of disturbances that are scored.
        voices: videos whose voices are the babble.
        seed: of what is drawn under a condition.
        variant: None: there is nothing to compare modality dropout with.
        threads: of torch; sums are split by it.
    """
    make_deterministic(threads)
    main, tracks = next(iter(models)), [thin_out(track, ratio) for track in tracks]
    clean = predict_tracks(tracks, models, geometry, stride, mode, root, truth)

    def disturbed(track: str) -> Disturbed:
        return read_disturbed(root / "data" / "robustness", conditions, track)

    predicted = predict_conditions(clean, tracks, disturbed, models, geometry, stride, mode, seed)
    rows = score_rows(predicted, list(models), kinds)
    dropout = None
    if variant:
        rates = variant.main_rate, variant.rate
        pair = (main, variant.name) if rates[0] <= rates[1] else (variant.name, main)
        gain = dropout_gain(predicted, *pair, ABSENT_SHARE)
        dropout = {"rates": sorted(rates), "absent_share": ABSENT_SHARE, "by_stream": gain}
    folder = root / "reports" / "robustness"
    effective = effective_groups(scored_frames(clean).values())
    facts = {
        "split": split,
        "tracks": [track.track for track in tracks],
        "videos": int(rows[0]["videos"]),
        "effective_videos": effective,
        "note": few_note(effective),
        "stride": stride,
        "inference": mode,
        "pooling": "pooled: all valid frames of these tracks, concatenated; unsmoothed",
        "babble": list(voices),
        "modality_dropout": dropout,
    }
    write_csv(folder / "scores.csv", rows, COLUMNS)
    write_report(folder / "robustness.json", facts)
    plot_robustness(folder / "robustness.png", rows, main, _subtitle(facts))


def _subtitle(facts: Mapping[str, Any]) -> str:
    note, count, effective = facts["note"], len(facts["tracks"]), facts["effective_videos"]
    shaded = f"shaded: 95 % interval of the main model{f' ({note})' if note else ''}"
    return (
        f"{facts['split']}, {count} tracks of {facts['videos']} videos (effectively {effective:.1f}), a clip every "
        f"{facts['stride']} frames; {shaded if effective >= TOO_FEW_GROUPS else note}"
    )
