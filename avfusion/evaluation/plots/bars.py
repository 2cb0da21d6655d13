"""CCC of all models and oracles side by side, with their intervals."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from avfusion.evaluation.metrics import NAMES
from avfusion.evaluation.oracle import ORACLES
from avfusion.evaluation.plots.style import FAINT, INK, MUTED, TARGET_COLOURS, model_title, new_figure, quiet, save_png


def plot_ccc(
    path: Path, metrics: Mapping[str, Mapping[str, Mapping[str, Any]]], models: Sequence[str], notes: Mapping[str, str]
) -> None:
    """Draw a row of panels per split (valence, arousal, mean), a bar per model; splits without labels are left out.

    Args:
        metrics: contents of metrics.json.
        models: in the order of the bars, the main one last.
        notes: a remark on the intervals by split.
    """
    splits = [split for split, entries in metrics.items() if any(e["ccc_mean"] is not None for e in entries.values())]
    oracles = [name for name in ORACLES if any(metrics[split][name]["ccc_mean"] is not None for split in splits)]
    bars = [*models, *reversed(oracles)]
    figure = new_figure(11, 0.9 + max(len(splits), 1) * (0.75 + 0.33 * len(bars)))
    panels = figure.subplots(max(len(splits), 1), len(NAMES), sharex=True, squeeze=False)
    for row, split in enumerate(splits):
        for axes, name in zip(panels[row], NAMES, strict=True):
            _panel(axes, metrics[split], bars, name, len(models))
        panels[row][0].set_yticks(range(len(bars)), [model_title(bar) for bar in bars])
        entry = metrics[split][models[-1]]
        note = f"  ({notes[split]})" if split in notes else ""
        title = f"{split}: {entry['frames']:,} frames, {entry['tracks']} tracks\n" + f"95 % intervals over videos{note}"
        panels[row][0].set_ylabel(title, fontsize=8, color=MUTED)
    for axes, name in zip(panels[0], NAMES, strict=True):
        axes.set_title(
            f"{name} CCC" if name != "mean" else "mean of both", loc="left", fontsize=10, color=TARGET_COLOURS[name]
        )
    for axes in panels[-1]:
        axes.set_xlabel("pooled CCC   (○ smoothed)")
    save_png(figure, path)


def _panel(axes: Axes, entries: Mapping[str, Mapping[str, Any]], bars: Sequence[str], name: str, models: int) -> None:
    for at, bar in enumerate(bars):
        entry = entries[bar]
        score, ends, smoothed = entry[f"ccc_{name}"], entry[f"ci95_{name}"], entry["smoothed"][f"ccc_{name}"]
        if score is None:
            continue
        oracle = at >= models
        colour = FAINT if oracle else TARGET_COLOURS[name]
        axes.barh(at, score, height=0.62, color=colour, alpha=0.9 if at == models - 1 or oracle else 0.5)
        if ends is not None:
            axes.plot(ends, (at, at), color=INK, linewidth=1.3, solid_capstyle="butt")
            axes.plot(ends, (at, at), color=INK, linestyle="", marker="|", markersize=6)
        axes.plot(smoothed, at, marker="o", markersize=5, markerfacecolor="white", markeredgecolor=INK, linestyle="")
        side = max(score, smoothed, ends[1] if ends is not None else score)
        axes.text(min(side, 1.0) + 0.035, at, f"{score:.2f}", va="center", ha="left", fontsize=8, color=INK)
    axes.axhline(models - 0.5, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
    lowest = min([0.0, *(e[f"ci95_{name}"][0] for e in entries.values() if e[f"ci95_{name}"] is not None)])
    axes.set_xlim(min(lowest * 1.05, axes.get_xlim()[0] if axes.get_xlim()[0] < 0 else 0), 1.14)
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set_yticks([])
    quiet(axes, grid="x")
    axes.tick_params(axis="y", length=0)
