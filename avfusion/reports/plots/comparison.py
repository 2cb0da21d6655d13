"""Models of a comparison side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from avfusion.reports.comparison_table import REFERENCE
from avfusion.reports.plots.style import INK, MUTED, TARGET_COLOURS, model_title, new_figure, quiet, save_png
from avfusion.scoring.intervals import TOO_FEW_GROUPS, few_note
from avfusion.scoring.metrics import NAMES

Bar = tuple[float | None, float | None, float | None]  # value, lower and upper end of its interval


def plot_comparison(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A panel each for valence, arousal and mean: CCC over seeds as a dot, its 95 % interval over videos as a line.

    With joint cross-attention among the models, a fourth panel shows the paired difference of the mean from it.
    """
    paired = any(row["model"] == REFERENCE for row in rows) and len(rows) > 1
    figure = new_figure(11 + 3 * paired, 1.3 + 0.33 * len(rows))
    panels = figure.subplots(1, len(NAMES) + paired, sharey=True, squeeze=False)[0]
    videos, effective, seeds = (rows[0][key] for key in ("videos", "effective_videos", "seeds"))
    note = f"; {note}" if (note := few_note(effective)) else ""
    over = f"{videos} videos (effectively {effective:.1f})" + (f" and {seeds} seeds" if seeds > 1 else "")
    lines = f"lines: 95 % intervals over {over}{note}" if effective >= TOO_FEW_GROUPS else f"{over}{note}"
    title = f"dots: {'mean over seeds' if seeds > 1 else 'one training each'}; {lines}"
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, color=INK)
    for axes, target in zip(panels, NAMES, strict=False):
        bars = [tuple(row[f"{kind}_{target}"] for kind in ("ccc", "low", "high")) for row in rows]
        _panel(axes, bars, target, TARGET_COLOURS[target])
        axes.set_xlabel("pooled CCC")
        axes.sharex(panels[0])
    if paired:
        key = f"minus_{REFERENCE}_mean"
        bars = [tuple(row[f"{key}{end}"] for end in ("", "_low", "_high")) for row in rows]
        _panel(panels[-1], bars, "mean, difference", TARGET_COLOURS["mean"])
        panels[-1].axvline(0, color=MUTED, linewidth=0.9, zorder=0)
        panels[-1].set_xlabel(f"CCC minus that of {model_title(REFERENCE)}")
    panels[0].set_yticks(range(len(rows)), [model_title(row["model"]) for row in rows])
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    save_png(figure, path)


def _panel(axes: Axes, bars: Sequence[Bar], title: str, colour: str) -> None:
    for at, (value, low, high) in enumerate(bars):
        if low is not None and high is not None:
            axes.plot((low, high), (at, at), color=INK, linewidth=1.3)
        if value is not None:
            axes.plot(value, at, marker="o", markersize=6, color=colour)
    axes.set_title(title, loc="left", fontsize=10, color=colour)
    quiet(axes, grid="x")
