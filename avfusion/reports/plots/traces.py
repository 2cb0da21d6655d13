"""One track over time: truth, prediction, unlabelled spans, and the presence of each stream."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from avfusion.reports.plots.style import (
    AUDIO,
    FAINT,
    INK,
    MUTED,
    TARGET_COLOURS,
    VISUAL,
    model_title,
    new_figure,
    quiet,
    save_png,
    spans,
    write_notes,
)
from avfusion.scoring.ccc import ccc
from avfusion.scoring.smoothing import smooth_seconds
from avfusion.scoring.track_predictions import TARGETS, TrackPredictions

CONDITION_TITLES = {"occluded": "face occluded", "pause": "speech pause", "burst": "noise burst"}
CONDITION_STREAMS = {"occluded": VISUAL, "pause": AUDIO, "burst": AUDIO}


def plot_track(
    path: Path, track: TrackPredictions, model: str, windows_s: Sequence[float], notes: Sequence[str] = ()
) -> None:
    """Draw a track: a panel per target, below them strips of labels, streams and (demo) known disturbances.

    Args:
        notes: what readers must know about the model, written into the lower right corner.
    """
    strips = _strips(track)
    figure = new_figure(10, 4.9 + 0.16 * len(strips))
    panels = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 0.22 * len(strips) + 0.2))
    smoothed = smooth_seconds(track.predictions[model], track.time_s, windows_s)
    for c, (axes, target) in enumerate(zip(panels[:2], TARGETS, strict=True)):
        _target(axes, track, c, target, track.predictions[model][:, c], smoothed[:, c])
    _draw_strips(panels[2], strips, track.time_s)
    title = f"{track.track}  ·  {track.split}  ·  {model_title(model)}"
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=INK, fontweight="bold")
    panels[2].set_xlabel("time (s)")
    panels[2].set_xlim(0, max(float(track.time_s[-1]), 1e-3))
    write_notes(figure, notes)
    save_png(figure, path)


def _target(
    axes: Axes, track: TrackPredictions, c: int, target: str, predicted: np.ndarray, smoothed: np.ndarray
) -> None:
    time_s, valid, colour = track.time_s, track.valid, TARGET_COLOURS[target]
    axes.axhline(0, color=FAINT, linewidth=0.8, zorder=0)
    if valid.any() and not valid.all():
        for start, length in spans(~valid, time_s):
            axes.axvspan(start, start + length, facecolor="#f4f4f4", edgecolor="#d5d5d5", hatch="////", linewidth=0)
    if valid.any():
        axes.plot(
            time_s, np.where(valid, track.labels[:, c], np.nan), color=INK, linewidth=2.4, alpha=0.75, label="truth"
        )
    axes.plot(time_s, predicted, color=colour, linewidth=0.8, alpha=0.55, label="prediction")
    axes.plot(time_s, smoothed, color=colour, linewidth=1.8, label="smoothed")
    score = f"   CCC {ccc(predicted, track.labels[:, c], valid):.2f}" if valid.sum() >= 2 else ""
    axes.set_title(f"{target}{score}", loc="left", fontsize=10, color=colour)
    axes.set_ylim(-1.04, 1.04)
    axes.set_yticks((-1, -0.5, 0, 0.5, 1))
    ends = ("unpleasant", "pleasant") if target == "valence" else ("calm", "excited")
    axes.set_ylabel(f"{ends[0]}  –  {ends[1]}")
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.97), ncols=3, frameon=False, fontsize=8, labelcolor=INK)
    quiet(axes)


def _strips(track: TrackPredictions) -> list[tuple[str, np.ndarray, str, float]]:
    """Rows of the lowest panel, from the top: title, flags, colour, opacity."""
    rows = [
        ("labelled", track.valid, MUTED, 0.8),
        ("audio present", track.presence[:, 0], AUDIO, 0.8),
        ("face present", track.presence[:, 1], VISUAL, 0.8),
    ]
    for name, flags in track.conditions.items():
        rows.append((CONDITION_TITLES.get(name, name), flags, CONDITION_STREAMS.get(name, MUTED), 0.35))
    return rows


def _draw_strips(axes: Axes, strips: list[tuple[str, np.ndarray, str, float]], time_s: np.ndarray) -> None:
    for row, (_, flags, colour, opacity) in enumerate(strips):
        axes.broken_barh(spans(flags, time_s), (row + 0.15, 0.7), color=colour, alpha=opacity, linewidth=0)
    axes.set_ylim(len(strips), 0)
    axes.set_yticks([row + 0.5 for row in range(len(strips))], [title for title, *_ in strips])
    quiet(axes)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
