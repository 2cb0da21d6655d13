"""A picture of one video's predictions: valence, arousal and the presence of the streams over time."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from avfusion.runtime.atomic import atomic_path

if TYPE_CHECKING:
    import pandas as pd

VALENCE, AROUSAL, AUDIO, VISUAL, INK, FAINT = "#0072b2", "#d55e00", "#cc79a7", "#009e73", "#333333", "#bbbbbb"


def plot_trace(path: str | Path, predictions: "pd.DataFrame", title: str, metadata: Mapping[str, str]) -> None:
    """Draw valence and arousal, and below them the presence of each stream and the confidence of the face.

    Args:
        path: PNG file, written whole or not at all.
        metadata: text kept in the PNG.
    """
    time_s = predictions["time_s"].to_numpy(float)
    # Not pyplot, which would keep the figure and choose a window system.
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1.1))
    _emotion(above, time_s, predictions)
    _evidence(below, time_s, predictions)
    above.set_title(title, loc="left", fontsize=11, color=INK)
    below.set_xlabel("time (s)")
    below.set_xlim(0, max(float(time_s[-1]), 1e-3))
    with atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ ")  # a character that the font lacks is drawn as a box
        figure.savefig(temporary, dpi=120, format="png", metadata=dict(metadata))


def _emotion(axes: Axes, time_s: np.ndarray, predictions: "pd.DataFrame") -> None:
    axes.axhline(0, color=FAINT, linewidth=0.8)
    for name, colour in (("valence", VALENCE), ("arousal", AROUSAL)):
        values = predictions[name].to_numpy(float)
        mean = round(float(np.mean(values)), 2) + 0.0  # never a minus before zero
        axes.plot(time_s, values, color=colour, linewidth=1.6, label=f"{name} (mean {mean:+.2f})")
    axes.set_ylim(-1.02, 1.02)
    axes.set_ylabel("unpleasant / calm   …   pleasant / excited", fontsize=8)
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.99), ncols=2, frameon=False, fontsize=9)
    _plain(axes)


def _evidence(axes: Axes, time_s: np.ndarray, predictions: "pd.DataFrame") -> None:
    step = float(np.median(np.diff(time_s))) if len(time_s) > 1 else 1.0
    edges = np.append(time_s, time_s[-1] + step)
    for row, (name, colour) in enumerate((("audio_present", AUDIO), ("visual_present", VISUAL))):
        present = predictions[name].to_numpy(bool)
        axes.broken_barh(_spans(present, edges), (row + 0.1, 0.8), color=colour, alpha=0.35, linewidth=0)
    confidence = predictions["face_confidence"].to_numpy(float)
    height = 2.1 + 0.8 * np.clip(confidence, 0, 1)
    axes.fill_between(time_s, 2.1, height, color=INK, alpha=0.45, linewidth=0, step="post")
    axes.set_ylim(0, 3)
    axes.set_yticks([0.5, 1.5, 2.5], ["sound heard", "face seen", "face confidence"], fontsize=8)
    axes.tick_params(axis="y", length=0)
    _plain(axes)


def _spans(present: np.ndarray, edges: np.ndarray) -> list[tuple[float, float]]:
    """(start, duration) of every run of True."""
    change = np.flatnonzero(np.diff(np.concatenate([[False], present, [False]]).astype(int)))
    return [(float(edges[a]), float(edges[b] - edges[a])) for a, b in zip(change[::2], change[1::2], strict=True)]


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=8)
