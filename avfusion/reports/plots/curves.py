"""Training curves of all models: CCC per target and split, loss, and learning rate."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import ceil
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from avfusion.reports.plots.style import (
    COLUMNS,
    INK,
    MUTED,
    TARGET_COLOURS,
    WIDEST,
    model_title,
    new_figure,
    quiet,
    save_png,
)
from avfusion.scoring.track_predictions import TARGETS


def plot_curves(
    path: Path,
    histories: Mapping[str, Sequence[Mapping[str, float]]],
    best_epochs: Mapping[str, int],
    stopping: str = "validation",
) -> None:
    """Draw two panels per model: above CCC over epochs (solid: validation, dashed: training), below loss and rate.

    With `stopping` `inner` the solid line is that of the inner stopping split, and named so.

    A model whose weights were averaged has a dotted line: validation of the weights themselves.
    """
    columns, rows = min(max(len(histories), 1), COLUMNS), max(ceil(len(histories) / COLUMNS), 1)
    figure = new_figure(min(3.3 * columns + 0.6, WIDEST), 5.2 * rows)
    panels = figure.subplots(2 * rows, columns, squeeze=False, sharey="row", height_ratios=(2, 1) * rows)
    for number, (name, history) in enumerate(histories.items()):
        row, column = divmod(number, columns)
        scores, loss = panels[2 * row, column], panels[2 * row + 1, column]
        scores.sharex(loss)
        _scores(scores, history, best_epochs[name], "stopping split" if stopping == "inner" else "validation")
        _loss(loss, history)
        best = f"best epoch {best_epochs[name]} of {len(history)}" if history else "untrained"
        scores.set_title(f"{model_title(name)}\n{best}", loc="left", fontsize=9.5, color=INK)
        scores.tick_params(labelbottom=False)
        loss.set_xlabel("epoch")
        if not column:
            scores.set_ylabel("pooled CCC")
            loss.set_ylabel("loss")
    for number in range(len(histories), rows * columns):
        for line in (0, 1):
            panels[2 * (number // columns) + line, number % columns].set_axis_off()
    lines, titles = panels[0, 0].get_legend_handles_labels()
    figure.legend(lines, titles, loc="outside lower center", ncols=4, frameon=False, fontsize=8, labelcolor=INK)
    save_png(figure, path)


def _scores(axes: Axes, history: Sequence[Mapping[str, float]], best: int, stopping: str) -> None:
    epochs = [row["epoch"] for row in history]
    lines = [("val", "-", stopping), ("train", "--", "training, dropout on")]
    if history and "raw_val_ccc_mean" in history[0]:
        lines.append(("raw_val", ":", f"{stopping}, weights not averaged"))
    for target in TARGETS:
        colour = TARGET_COLOURS[target]
        for split, line, title in lines:
            values = [row[f"{split}_ccc_{target}"] for row in history]
            axes.plot(
                epochs,
                values,
                color=colour,
                linestyle=line,
                linewidth=1.9 if split == "val" else 1.1,
                alpha=1 if split == "val" else 0.7,
                label=f"{target}, {title}",
                marker="o" if len(history) == 1 else "",
            )
    if best:
        axes.axvline(best, color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)))
    quiet(axes, grid="y")


def _loss(axes: Axes, history: Sequence[Mapping[str, float]]) -> None:
    epochs = [row["epoch"] for row in history]
    axes.plot(epochs, [row["loss"] for row in history], color=INK, linewidth=1.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    quiet(axes, grid="y")
    for before, after in pairwise(history):
        if after["lr"] != before["lr"]:
            axes.axvline(after["epoch"], color=MUTED, linewidth=0.8, linestyle=":")
    if history:
        first, last = history[0]["lr"], history[-1]["lr"]
        rates = f"lr {first:.1e}" + (f" → {last:.1e}" if last != first else "")
        axes.text(
            0.98,
            0.94,
            rates,
            transform=axes.transAxes,
            ha="right",
            va="top",
            fontsize=8,
            color=MUTED,
            backgroundcolor="white",
        )
