"""Colours and style of all pictures; figures are made without pyplot, so none stays open."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure

from avfusion.runtime.atomic import atomic_path

# The palette of Okabe and Ito, suitable for colour-blind readers.
VALENCE, AROUSAL, AUDIO, VISUAL = "#0072b2", "#d55e00", "#cc79a7", "#009e73"
TARGET_COLOURS = {"valence": VALENCE, "arousal": AROUSAL, "mean": "#555555"}
INK, MUTED, FAINT, PALE = "#2b2b2b", "#757575", "#c8c8c8", "#efefef"
WARNING = "#8c2f0b"
DPI = 120
WIDEST = 10.0  # inches, 1200 pixels: a page of 1280 shows that as it is
COLUMNS = 4  # panels side by side, at most
MODEL_TITLES = {
    "audio_only": "audio only",
    "visual_only": "visual only",
    "concat": "concatenation",
    "jca": "joint cross-attention",
    "oracle": "oracle, both streams",
    "oracle_audio": "oracle, audio",
    "oracle_visual": "oracle, visual",
    "oracle_linear": "oracle, sums over time",
    "oracle_clip": "oracle, one clip",
}


def new_figure(width: float, height: float) -> Figure:
    """An empty figure; sizes in inches."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save_png(figure: Figure, path: Path) -> None:
    """Write a PNG whose bytes depend on the picture alone, whole or not at all."""
    with atomic_path(path) as temporary, rc_context({"svg.hashsalt": "avfusion"}):
        figure.savefig(temporary, dpi=DPI, format="png", metadata={"Software": None})


def write_notes(figure: Figure, notes: Sequence[str]) -> None:
    """Write into the lower right corner, below everything else, what readers must know about the model."""
    if notes:
        room = 0.04 * len(notes)
        figure.set_layout_engine("constrained", rect=(0, room, 1, 1 - room))
        figure.text(0.995, 0.01, "\n".join(notes), ha="right", va="bottom", fontsize=7.5, color=WARNING)


def colour_bar(figure: Figure, colours: ScalarMappable, axes: Axes | Sequence[Axes], label: str) -> Colorbar:
    """A bar beside the axes that says what the colours mean."""
    bar = figure.colorbar(colours, ax=axes, pad=0.01, aspect=30)
    bar.set_label(label, fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=7, colors=INK)
    bar.outline.set_visible(False)
    return bar


def quiet(axes: Axes, *, grid: str = "") -> None:
    """Remove decoration; `grid`: "x", "y" or "both" for faint lines."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=8, length=3, color=FAINT)
    axes.xaxis.label.set(color=INK, fontsize=9)
    axes.yaxis.label.set(color=INK, fontsize=9)
    if grid:
        axes.grid(axis=grid, color=PALE, linewidth=0.8)  # type: ignore[arg-type]
        axes.set_axisbelow(True)


def model_title(name: str) -> str:
    """A model's name for readers; a remark after a comma (about its training) is kept."""
    model, *training = name.split(",", 1)
    return ",".join([MODEL_TITLES.get(model, model.replace("_", " ")), *training])


def spans(flags: np.ndarray, time_s: np.ndarray) -> list[tuple[float, float]]:
    """(start, duration) in seconds of every run of True; a frame lasts until the next one."""
    step = float(np.median(np.diff(time_s))) if len(time_s) > 1 else 0.04
    edges = np.append(time_s, time_s[-1] + step)
    change = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return [(float(edges[a]), float(edges[b] - edges[a])) for a, b in zip(change[::2], change[1::2], strict=True)]
