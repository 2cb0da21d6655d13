"""Predictions and truth in the valence-arousal plane, and against each other."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import LogNorm
from matplotlib.patches import Circle

from avfusion.reports.plots.style import (
    FAINT,
    INK,
    MUTED,
    TARGET_COLOURS,
    WIDEST,
    colour_bar,
    model_title,
    new_figure,
    quiet,
    save_png,
)
from avfusion.scoring.ccc import ccc
from avfusion.scoring.metrics import valid_pairs
from avfusion.scoring.track_predictions import TARGETS, TrackPredictions

CELLS = 34
CORNERS = (((-0.97, 0.97), "tense"), ((0.97, 0.97), "elated"), ((-0.97, -0.97), "sad"), ((0.97, -0.97), "relaxed"))


def plot_plane(path: Path, tracks: Sequence[TrackPredictions], model: str, split: str) -> None:
    """Draw densities of truth and of predictions in the plane, and of prediction over truth per target."""
    predictions, labels, _ = valid_pairs(tracks, model)
    figure = new_figure(WIDEST, 3.2)
    panels = figure.subplots(1, 4)
    cells = [
        _density(panels[0], labels[:, 0], labels[:, 1]),
        _density(panels[1], predictions[:, 0], predictions[:, 1]),
        *(_density(panels[2 + c], labels[:, c], predictions[:, c]) for c in range(2)),
    ]
    highest = max([2.0, *(float(count) for cell in cells for count in np.asarray(cell.get_array()))])
    norm = LogNorm(1, highest)
    for cell in cells:
        cell.set_norm(norm)
    for axes, title in ((panels[0], "truth"), (panels[1], "prediction")):
        _plane(axes, title)
    for c, target in enumerate(TARGETS):
        score = f"{ccc(predictions[:, c], labels[:, c]):.2f}" if len(labels) >= 2 else "–"
        _against(panels[2 + c], target, score)
    bar = colour_bar(figure, ScalarMappable(norm, "viridis"), panels, "frames per cell")
    bar.ax.yaxis.set_major_formatter("{x:,.0f}")
    labelled = sum(bool(track.valid.any()) for track in tracks)
    counted = f"{len(labels):,} labelled frames of {labelled} {'track' if labelled == 1 else 'tracks'}"
    title = f"{model_title(model)}, {split} split, {counted}"
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=INK, fontweight="bold")
    save_png(figure, path)


def _density(axes: Axes, x: np.ndarray, y: np.ndarray) -> PolyCollection:
    return axes.hexbin(x, y, gridsize=CELLS, extent=(-1, 1, -1, 1), mincnt=1, cmap="viridis", linewidths=0)


def _square(axes: Axes) -> None:
    axes.set(xlim=(-1.04, 1.04), ylim=(-1.04, 1.04), aspect="equal", xticks=(-1, 0, 1), yticks=(-1, 0, 1))
    quiet(axes)


def _plane(axes: Axes, title: str) -> None:
    _square(axes)
    axes.add_patch(Circle((0, 0), 1, fill=False, edgecolor=FAINT, linewidth=0.8, zorder=0))
    axes.axhline(0, color=FAINT, linewidth=0.8, zorder=0)
    axes.axvline(0, color=FAINT, linewidth=0.8, zorder=0)
    for (x, y), word in CORNERS:
        axes.text(
            x,
            y,
            word,
            ha="left" if x < 0 else "right",
            va="bottom" if y < 0 else "top",
            fontsize=8,
            color=INK,
            zorder=5,
            bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 1.5},
        )
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.set_xlabel("valence")
    axes.set_ylabel("arousal", labelpad=-4)


def _against(axes: Axes, target: str, score: str) -> None:
    _square(axes)
    axes.plot((-1, 1), (-1, 1), color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set_title(f"{target}   CCC {score}", loc="left", fontsize=10, color=TARGET_COLOURS[target])
    axes.set_xlabel("truth")
    axes.set_ylabel("prediction", labelpad=-4)
