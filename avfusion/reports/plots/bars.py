"""CCC of all models and oracles side by side, with their intervals."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from avfusion.corpora.demo.truth import ORACLES
from avfusion.reports.plots.style import FAINT, INK, TARGET_COLOURS, WIDEST, model_title, new_figure, quiet, save_png
from avfusion.scoring.intervals import few_note
from avfusion.scoring.metrics import NAMES


def plot_ccc(
    path: Path, metrics: Mapping[str, Mapping[str, Mapping[str, Any]]], models: Sequence[str], notes: Mapping[str, str]
) -> None:
    """Draw a row of panels per split (valence, arousal, mean), a bar per model; splits without labels are omitted.

    Args:
        metrics: contents of metrics.json.
        models: in the order of the bars, the main model last.
        notes: a remark on the intervals by split.
    """
    splits = [split for split, entries in metrics.items() if any(e["ccc_mean"] is not None for e in entries.values())]
    oracles = [name for name in ORACLES if any(name in metrics[split] for split in splits)]
    bars = [*models, *reversed(oracles)]
    rows = max(len(splits), 1)
    figure = new_figure(WIDEST, 0.2 + rows * (1.05 + 0.33 * len(bars)))
    lowest = min([0.0, *(low for split in splits for low in _lows(metrics[split]))])
    for split, part in zip(splits, figure.subfigures(rows, 1, squeeze=False)[:, 0], strict=False):
        panels = part.subplots(1, len(NAMES))
        for axes, name in zip(panels, NAMES, strict=True):
            _panel(axes, metrics[split], bars, name, len(models))
            axes.set_xlim(lowest - 0.06 if lowest < 0 else 0, 1.14)
            title = f"{name} CCC" if name != "mean" else "mean of both"
            axes.set_title(title, loc="left", fontsize=10, color=TARGET_COLOURS[name])
            axes.set_xlabel("pooled CCC   (○ smoothed)" if split == splits[-1] else "")
        panels[0].set_yticks(range(len(bars)), [model_title(bar) for bar in bars])
        title = _described(split, metrics[split][models[-1]], notes.get(split, ""))
        part.suptitle(title, x=0.01, ha="left", fontsize=10, color=INK)
    save_png(figure, path)


def _lows(entries: Mapping[str, Mapping[str, Any]]) -> list[float]:
    """All scores and lower ends of intervals of a split."""
    parts = [part for entry in entries.values() for part in (entry, entry["smoothed"])]
    scores = [part[f"ccc_{name}"] for part in parts for name in NAMES]
    ends = [entry[f"ci95_{name}"] for entry in entries.values() for name in NAMES]
    return [*(score for score in scores if score is not None), *(pair[0] for pair in ends if pair is not None)]


def _described(split: str, entry: Mapping[str, Any], note: str) -> str:
    tracks = f"{entry['tracks']} {'track' if entry['tracks'] == 1 else 'tracks'}"
    interval = f"95 % intervals over effectively {entry['effective_videos']:.1f} videos{f' ({note})' if note else ''}"
    if entry["ci95_mean"] is None:
        interval = few_note(0)
    return f"{split}: {entry['frames']:,} frames, {tracks}; {interval}"


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
        side = max(0.0, score, smoothed, ends[1] if ends is not None else score)
        axes.text(min(side, 1.0) + 0.035, at, f"{score:.2f}", va="center", ha="left", fontsize=8, color=INK)
    axes.axhline(models - 0.5, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set_yticks([])
    quiet(axes, grid="x")
    axes.tick_params(axis="y", length=0)
