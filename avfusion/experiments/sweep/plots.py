"""Pictures of a study: its history, the importance of parameters, and the good points."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.ticker import MaxNLocator, ScalarFormatter
from optuna.trial import FrozenTrial, TrialState

from avfusion.experiments.sweep.dimensions import Choice
from avfusion.experiments.sweep.space import SearchSpace, point_of
from avfusion.reports.plots.style import (
    AROUSAL,
    FAINT,
    INK,
    MUTED,
    PALE,
    VALENCE,
    colour_bar,
    new_figure,
    quiet,
    save_png,
)

SCORE = "mean validation CCC"
PLOTS = ("history", "importances", "parallel_coordinates", "slices")
_SCORES: Colormap = LinearSegmentedColormap.from_list("scores", ["#d9dfe6", "#7fb2d6", VALENCE, "#08305a"])


def plot_study(folder: Path, study: optuna.Study, space: SearchSpace) -> list[Path]:
    """Draw all pictures into `folder`; those that need completed trials are omitted without any."""
    trials = study.get_trials(deepcopy=False)
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if not complete:
        return []
    paths = {name: folder / f"{name}.png" for name in PLOTS}
    plot_history(paths["history"], trials)
    plot_importances(paths["importances"], study)
    names = [name for name in space.dimensions if any(name in trial.params for trial in complete)]
    plot_parallel_coordinates(paths["parallel_coordinates"], complete, names, space)
    plot_slices(paths["slices"], complete, names, space)
    return list(paths.values())


def plot_history(path: Path, trials: Sequence[FrozenTrial]) -> None:
    """Score over trials: completed, pruned at their last epoch, failed at the bottom, and the best so far."""
    figure = new_figure(7.0, 3.6)
    axes = figure.subplots()
    groups = {
        TrialState.COMPLETE: ("completed", VALENCE, "o"),
        TrialState.PRUNED: ("pruned, at its last epoch", FAINT, "v"),
    }
    for state, (label, colour, marker) in groups.items():
        chosen = [trial for trial in trials if trial.state == state and trial.values]
        if chosen:
            numbers, scores = [trial.number for trial in chosen], [trial.values[0] for trial in chosen]
            axes.scatter(numbers, scores, s=26, color=colour, marker=marker, label=label, zorder=2)
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    best = np.maximum.accumulate([trial.values[0] for trial in complete])
    axes.step(
        [trial.number for trial in complete], best, where="post", color=AROUSAL, linewidth=1.4, label="best so far"
    )
    if failed := [trial.number for trial in trials if trial.state == TrialState.FAIL]:
        low = axes.get_ylim()[0]
        axes.scatter(failed, [low] * len(failed), s=26, color=INK, marker="x", label="failed", clip_on=False, zorder=3)
    axes.set_xlabel("trial")
    axes.set_ylabel(SCORE)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=8, labelcolor=INK, loc="best")
    quiet(axes, grid="y")
    save_png(figure, path)


def plot_importances(path: Path, study: optuna.Study) -> None:
    """Bars: the importance of each parameter for good trials (PED-ANOVA, arXiv 2304.10255)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shares = optuna.importance.get_param_importances(study)
    except (ValueError, RuntimeError):  # too few trials, or all equal
        shares = {}
    figure = new_figure(6.0, 1.0 + 0.32 * max(len(shares), 2))
    axes = figure.subplots()
    names = list(reversed(shares))
    values = [float(np.nan_to_num(shares[name])) for name in names]
    axes.barh(names, values, color=VALENCE, height=0.62)
    for row, value in enumerate(values):
        axes.annotate(
            f"{value:.2f}", (value, row), (4, 0), textcoords="offset points", va="center", fontsize=8, color=INK
        )
    if not names:
        axes.text(0.5, 0.5, "too few completed trials", transform=axes.transAxes, ha="center", color=MUTED)
        axes.set_yticks([])
    axes.set_xlim(0, max([*values, 0.01]) * 1.12)
    axes.set_xlabel("importance, of all 1")
    quiet(axes)
    save_png(figure, path)


def plot_parallel_coordinates(
    path: Path, complete: Sequence[FrozenTrial], names: Sequence[str], space: SearchSpace
) -> None:
    """A line per completed trial through its parameters, the best on top; a line is broken at parameters that were not
    drawn.
    """
    figure = new_figure(max(7.0, 1.25 * (len(names) + 1)), 4.2)
    axes = figure.subplots()
    colours = _colours(complete)
    scales = [_Scale(name, complete, space) for name in names]
    for trial in sorted(complete, key=lambda trial: trial.values[0]):
        point = point_of(trial.params)
        heights = [scale.height(point[scale.name]) if scale.name in point else np.nan for scale in scales]
        score = float(np.asarray(colours.norm(trial.values[0])))
        axes.plot(range(len(scales)), heights, color=colours.to_rgba(trial.values[0]), linewidth=0.7 + 1.3 * score,
                  marker="o", markersize=2.5, alpha=0.9)  # fmt: skip
    for column, scale in enumerate(scales):
        axes.axvline(column, color=FAINT, linewidth=0.9, zorder=0)
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
        place = {"xytext": (4, 0), "textcoords": "offset points", "va": "center", "bbox": box}
        for height, text in scale.ticks():
            axes.annotate(text, (column, height), fontsize=7, color=INK, zorder=5, **place)  # type: ignore[arg-type]
    axes.set_xticks(range(len(scales)), [scale.name for scale in scales])
    axes.set_xlim(-0.15, len(scales) - 0.35)
    axes.set_ylim(-0.06, 1.06)
    axes.set_yticks([])
    quiet(axes)
    axes.spines[["left", "bottom"]].set_visible(False)
    colour_bar(figure, colours, axes, SCORE)
    save_png(figure, path)


def plot_slices(path: Path, complete: Sequence[FrozenTrial], names: Sequence[str], space: SearchSpace) -> None:
    """A panel per parameter: score over its values, later trials darker."""
    columns = min(4, max(len(names), 1))
    rows = -(-max(len(names), 1) // columns)
    figure = new_figure(2.5 * columns + 0.7, 2.3 * rows + 0.3)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    norm = Normalize(0, max(trial.number for trial in complete) or 1)
    for axes, name in zip(panels.flat, names, strict=False):
        _slice(axes, name, [trial for trial in complete if name in trial.params], space, norm)
    for axes in panels.flat[len(names) :]:
        axes.set_axis_off()
    for axes in panels[:, 0]:
        axes.set_ylabel(SCORE)
    colour_bar(figure, ScalarMappable(norm, _SCORES), list(panels.flat), "trial")
    save_png(figure, path)


def _slice(axes: Axes, name: str, trials: Sequence[FrozenTrial], space: SearchSpace, norm: Normalize) -> None:
    dimension = space.dimensions[name]
    points = [point_of(trial.params)[name] for trial in trials]
    if isinstance(dimension, Choice):
        places = {value: place for place, value in enumerate(dimension.values)}
        # Side by side within a choice, so that equal scores do not hide each other.
        shift = np.linspace(-0.18, 0.18, max(len(points), 2))[: len(points)]
        xs: Any = [places[value] for value in points] + shift
        axes.set_xticks(range(len(places)), [_text(value) for value in places])
        axes.set_xlim(-0.5, len(places) - 0.5)
        if any(len(_text(value)) > 6 for value in places):
            axes.tick_params(axis="x", rotation=25)
    else:
        xs = points
        if dimension.log:
            axes.set_xscale("log")
        else:
            axes.xaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    axes.scatter(xs, [trial.values[0] for trial in trials], c=[trial.number for trial in trials], norm=norm,
                 cmap=_SCORES, s=22, edgecolors=PALE, linewidths=0.4)  # fmt: skip
    axes.set_xlabel(name)
    quiet(axes, grid="y")


class _Scale:
    """Maps a parameter's values to positions on its axis, 0 to 1."""

    def __init__(self, name: str, trials: Sequence[FrozenTrial], space: SearchSpace) -> None:
        self.name, self.dimension = name, space.dimensions[name]
        if isinstance(self.dimension, Choice):
            self.values = self.dimension.values
        else:
            drawn = [point_of(trial.params)[name] for trial in trials if name in trial.params]
            self.low, self.high = min([self.dimension.low, *drawn]), max([self.dimension.high, *drawn])

    def height(self, value: Any) -> float:
        if isinstance(self.dimension, Choice):
            return self.values.index(value) / max(len(self.values) - 1, 1)
        if self.dimension.log:
            return float(np.log(value / self.low) / np.log(self.high / self.low))
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[tuple[float, str]]:
        if isinstance(self.dimension, Choice):
            return [(self.height(value), _text(value)) for value in self.values]
        middle = (self.low * self.high) ** 0.5 if self.dimension.log else (self.low + self.high) / 2
        return [(self.height(value), _text(value)) for value in (self.low, middle, self.high)]


def _colours(complete: Sequence[FrozenTrial]) -> ScalarMappable:
    scores = [trial.values[0] for trial in complete]
    low, high = min(scores), max(scores)
    return ScalarMappable(Normalize(low, high if high > low else low + 1e-3), _SCORES)


def _text(value: Any) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)
