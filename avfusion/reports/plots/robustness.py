"""Scores under disturbances as small multiples: two panels per kind, one for each target, and a line per model."""

from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from avfusion.reports.plots.style import (
    COLUMNS,
    FAINT,
    INK,
    TARGET_COLOURS,
    WIDEST,
    model_title,
    new_figure,
    quiet,
    save_png,
)
from avfusion.scoring.conditions import KINDS
from avfusion.scoring.track_predictions import TARGETS

# Okabe and Ito; the first is the main model's.
COLOURS = ("#0072b2", "#e69f00", "#cc79a7", "#009e73", "#d55e00", "#56b4e9", "#999999", "#f0e442")
MOST_TICKS = 7


def plot_robustness(path: Path, rows: Sequence[Mapping[str, Any]], main: str, subtitle: str) -> None:
    """Draw the rows of `score_rows`, with intervals for the main model."""
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    models = list(dict.fromkeys(row["model"] for row in rows))
    columns, bands = min(len(kinds), COLUMNS), ceil(len(kinds) / COLUMNS)
    figure = new_figure(min(2.3 * columns + 0.8, WIDEST), 0.8 + 4.4 * bands)
    panels = figure.subplots(len(TARGETS) * bands, columns, squeeze=False, sharey=True)
    for number, kind in enumerate(kinds):
        band, column = divmod(number, columns)
        chosen = [row for row in rows if row["kind"] == kind]
        pair = panels[band * len(TARGETS) : (band + 1) * len(TARGETS), column]
        for axes, target in zip(pair, TARGETS, strict=True):
            _panel(axes, chosen, kind, target, models, main)
            if not column:
                axes.set_ylabel(f"CCC, {target}")
                axes.yaxis.label.set_color(TARGET_COLOURS[target])
        pair[0].set_title(KINDS[kind].title, loc="left", fontsize=10, color=INK)
        pair[0].sharex(pair[-1])
        pair[0].tick_params(labelbottom=False)
        pair[-1].set_xlabel(KINDS[kind].unit)
    for axes in panels[-len(TARGETS) :, len(kinds) - columns * (bands - 1) :].flat:
        axes.set_axis_off()
    lines, titles = panels[0, 0].get_legend_handles_labels()
    figure.legend(lines, titles, loc="outside lower center", ncols=len(models), frameon=False, fontsize=9)
    figure.suptitle(subtitle, x=0.01, ha="left", fontsize=9, color=INK)
    save_png(figure, path)


def _panel(
    axes: Axes, rows: Sequence[Mapping[str, Any]], kind: str, target: str, models: Sequence[str], main: str
) -> None:
    levels, places, names = _levels(kind)
    axes.axhline(0, color=FAINT, linewidth=0.8, zorder=0)
    for number, model in enumerate(models):
        by_level = {row["level"]: row for row in rows if row["model"] == model}
        found = [by_level[level] for level in levels]
        y = [np.nan if row[f"ccc_{target}"] is None else row[f"ccc_{target}"] for row in found]
        colour, first = COLOURS[number % len(COLOURS)], model == main
        if first and all(row[f"ccc_{target}_low"] is not None for row in found):
            low, high = ([row[f"ccc_{target}_{end}"] for row in found] for end in ("low", "high"))
            axes.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(
            places,
            y,
            color=colour,
            linewidth=2.2 if first else 1.3,
            linestyle="--" if _variant(model, models) else "-",
            marker="o",
            markersize=4 if first else 3,
            label=model_title(model),
            zorder=4 if _variant(model, models) else 3 if first else 2,
        )
    if len(names) <= MOST_TICKS:  # else matplotlib's own ticks, at whole numbers
        axes.set_xticks(places, names)
    quiet(axes, grid="y")


def _variant(model: str, models: Sequence[str]) -> bool:
    """Whether `model` is a variant of another of the models; it could hide its line."""
    return model.partition(",")[0] in models and "," in model


def _levels(kind: str) -> tuple[list[float | None], list[float], list[str]]:
    """Levels in the order of the axis (None: no disturbance), their positions, and their labels.

    Levels are placed at their values, or side by side if the level without disturbance (`clean`) is no number.
    """
    entry = KINDS[kind]
    levels: list[float | None] = [*entry.levels]
    at = sum(level < 0 for level in entry.levels) if kind == "audio_shift" else 0
    levels.insert(at, None)
    names = [entry.clean if level is None else f"{level:g}" for level in levels]
    numbers = entry.clean == "0"
    places = [0.0 if level is None else level for level in levels] if numbers else [float(i) for i in range(len(names))]
    return levels, places, names
