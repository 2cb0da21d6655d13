"""Models of a comparison side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from avfusion.evaluation.bootstrap import FEW_VIDEOS, NOTE
from avfusion.evaluation.metrics import NAMES
from avfusion.evaluation.plots.style import INK, TARGET_COLOURS, model_title, new_figure, quiet, save_png


def plot_comparison(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A panel each for valence, arousal and mean: CCC over seeds as a dot, its 95 % interval over videos as a line."""
    figure = new_figure(11, 1.3 + 0.33 * len(rows))
    panels = figure.subplots(1, len(NAMES), sharey=True, squeeze=False)[0]
    videos = rows[0]["videos"]
    note = f" ({NOTE})" if videos < FEW_VIDEOS else ""
    figure.suptitle(f"95 % intervals over {videos} videos{note}", x=0.01, ha="left", fontsize=10, color=INK)
    for axes, target in zip(panels, NAMES, strict=True):
        for at, row in enumerate(rows):
            if row[f"low_{target}"] is not None:
                axes.plot((row[f"low_{target}"], row[f"high_{target}"]), (at, at), color=INK, linewidth=1.3)
            axes.plot(row[f"ccc_{target}"], at, marker="o", markersize=6, color=TARGET_COLOURS[target])
        axes.set_title(target, loc="left", fontsize=10, color=TARGET_COLOURS[target])
        axes.set_xlabel("pooled CCC")
        quiet(axes, grid="x")
    panels[0].set_yticks(range(len(rows)), [model_title(row["model"]) for row in rows])
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    save_png(figure, path)
