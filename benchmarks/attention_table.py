"""The table and the picture of attention_factors.py, from the sums that it keeps of every finished cell."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avfusion.reports.plots.style import FAINT, INK, MUTED, TARGET_COLOURS, new_figure, quiet, save_png
from avfusion.reports.report import write_csv
from avfusion.runtime.atomic import atomic_path, write_text
from avfusion.scoring.intervals import ccc_of_sums, effective_groups, few_note, interval
from avfusion.scoring.metrics import NAMES, WEIGHTS
from avfusion.scoring.seeds import seed_coefficients

WINDOWS: dict[str, tuple[int, int] | None] = {"raw": None, "smoothed": (20, 50)}
STREAMS_ALONE = ("audio_only", "visual_only")
BETTER_STREAM = "better stream"
PAIRS = (("jca", "concat"), ("jca", BETTER_STREAM), ("concat", BETTER_STREAM), ("concat", "late"))
REFERENCE = "demo"
REFERENCES = {"half-unseen": "half-seen"}  # the same backbones and as many tracks


@dataclass(frozen=True)
class Scores:
    """A finished cell: sums (2 S, V, 6) by "<split>/<raw|smoothed>/<model>", of valence and arousal seed by seed."""

    name: str
    factor: str
    level: str
    seconds: float
    sums: Mapping[str, np.ndarray]

    def of(self, view: str, model: str, target: str) -> np.ndarray:
        """Sums (2 S, V, 6) of a model; `BETTER_STREAM` is the single stream with the higher mean over seeds."""
        if model == BETTER_STREAM:
            model = max(STREAMS_ALONE, key=lambda name: np.mean(self.ccc(view, name, target)))
        return self.sums[f"{view}/{model}"]

    def ccc(self, view: str, model: str, target: str) -> np.ndarray:
        """Pooled CCCs (S,) of a model's seeds."""
        scores = ccc_of_sums(self.of(view, model, target).sum(axis=1))
        return np.asarray(scores.reshape(-1, 2) @ WEIGHTS[target])

    def difference(self, view: str, pair: tuple[str, str], target: str) -> tuple[np.ndarray, np.ndarray]:
        """Sums (4 S, V, 6) of both models and the coefficients (S, 4 S) of their difference, a row per seed."""
        sums = [self.of(view, model, target) for model in pair]
        return np.concatenate(sums), seed_coefficients(WEIGHTS[target], (1, -1), len(sums[0]) // 2)


def save_cell(path: Path, sums: Mapping[str, np.ndarray], **facts: Any) -> None:
    """Keep a finished cell."""
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, facts=np.array(json.dumps(facts)), **sums)  # type: ignore[arg-type]


def read_cell(path: Path) -> Scores:
    """A kept cell."""
    with np.load(path) as file:
        facts = json.loads(str(file["facts"]))
        return Scores(path.stem, **facts, sums={key: file[key] for key in file.files if key != "facts"})


def rows_of(cell: Scores, demo: Scores | None) -> list[dict[str, Any]]:
    """A row per split, kind, pair and target: the difference over seeds and videos, and how it differs from the demo's.

    Videos are the same in all cells, so the change against the demo is paired over them, too.
    """
    rows = []
    for view in sorted({key.rsplit("/", 1)[0] for key in cell.sums}):
        split, kind = view.split("/")
        for pair in PAIRS:
            for target in NAMES:
                first, second = (cell.ccc(view, model, target) for model in pair)
                sums, signed = cell.difference(view, pair, target)
                low, high = interval(sums, signed, fisher=False) or (None, None)
                row = {"cell": cell.name, "factor": cell.factor, "level": cell.level, "split": split, "kind": kind}
                row["videos"] = int((sums[0, :, 0] > 0).sum())
                row["effective_videos"] = effective_groups(sums[0, :, 0])
                row |= {"first": pair[0], "second": pair[1], "target": target}
                row |= {"ccc_first": float(first.mean()), "ccc_second": float(second.mean())}
                row |= {"difference": float((first - second).mean()), "low": low, "high": high}
                row["sd_over_seeds"] = float((first - second).std(ddof=1))
                row |= dict.fromkeys(("change", "change_low", "change_high"))
                if demo is not None and demo.name != cell.name:
                    there, known = demo.difference(view, pair, target)
                    both = np.concatenate([sums, there]), np.concatenate([signed, -known], axis=1)
                    low, high = interval(*both, fisher=False) or (None, None)
                    base = [demo.ccc(view, model, target).mean() for model in pair]
                    change = row["difference"] - float(base[0] - base[1])
                    row |= {"change": change, "change_low": low, "change_high": high}
                rows.append(row)
    return rows


def write_table(work: Path, order: Sequence[str]) -> str:
    """Write factors.csv, factors.md and factors.png of the finished cells; returns the Markdown."""
    found = {path.stem: read_cell(path) for path in (work / "cells").glob("*.npz")}
    cells = [found[name] for name in order if name in found]
    rows = [row for cell in cells for row in rows_of(cell, found.get(REFERENCE))]
    write_csv(work / "factors.csv", rows)
    text = markdown(cells, rows) + level_table(cells)
    write_text(work / "factors.md", text)
    plot_factors(work / "factors.png", rows)
    return text


def markdown(cells: Sequence[Scores], rows: Sequence[Mapping[str, Any]]) -> str:
    """Two tables of the test tracks: the differences; and how they change, per target and with smoothing."""
    by = {(r["cell"], r["split"], r["kind"], r["first"], r["second"], r["target"]): r for r in rows}

    def row(
        cell: Scores, second: str, target: str = "mean", kind: str = "raw", first: str = "jca"
    ) -> Mapping[str, Any]:
        return by[cell.name, "test", kind, first, second, target]

    lines = ["| factor | level | better stream | concat | jca | jca - concat | its change against the demo "
             "| jca - better stream | CPU s |", "|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for cell in cells:
        concat, stream = row(cell, "concat"), row(cell, BETTER_STREAM)
        scores = [f"{value:.3f}" for value in (stream["ccc_second"], concat["ccc_second"], concat["ccc_first"])]
        change = _shown(concat, "change", "change_low", "change_high")
        lines.append(_line(cell.factor, cell.level, *scores, _shown(concat), change, _shown(stream),
                           f"{cell.seconds:.0f}"))  # fmt: skip
    lines += ["", "| factor | level | valence: jca - concat | arousal: jca - concat | jca - concat, smoothed "
              "| valence: jca - better stream | arousal: jca - better stream | concat - late |",
              "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for cell in cells:
        parts = [row(cell, "concat", "valence"), row(cell, "concat", "arousal"), row(cell, "concat", kind="smoothed")]
        parts += [row(cell, BETTER_STREAM, target) for target in ("valence", "arousal")]
        parts.append(row(cell, "late", first="concat"))
        lines.append(_line(cell.factor, cell.level, *map(_shown, parts)))
    return "\n".join(lines) + "\n"


def level_table(cells: Sequence[Scores]) -> str:
    """A Markdown table: by how much each factor moves a model's own mean CCC on the test tracks, paired over videos."""
    by_name = {cell.name: cell for cell in cells}
    lines = ["", "| factor | level | against | concat | jca |", "|---|---|---|---|---|"]
    for cell in cells:
        other = by_name.get(REFERENCES.get(cell.name, REFERENCE))
        if other is None or other.name == cell.name:
            continue
        shown = []
        for model in ("concat", "jca"):
            sums = [side.of("test/raw", model, "mean") for side in (cell, other)]
            signed = seed_coefficients(WEIGHTS["mean"], (1, -1), len(sums[0]) // 2)
            ends = interval(np.concatenate(sums), signed, fisher=False)
            change = float(np.mean([side.ccc("test/raw", model, "mean") for side in (cell, other)], axis=1) @ (1, -1))
            low, high = ends or (None, None)
            shown.append(_shown({"difference": change, "low": low, "high": high}))
        lines.append(_line(cell.factor, cell.level, other.level if cell.name in REFERENCES else "demo", *shown))
    return "\n".join(lines) + "\n"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _shown(row: Mapping[str, Any], value: str = "difference", low: str = "low", high: str = "high") -> str:
    return "" if row[value] is None else f"{row[value]:+.3f} [{row[low]:+.3f}, {row[high]:+.3f}]"


def plot_factors(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Both differences of all cells, with their intervals: a dot each, a line between factors."""
    names = list(dict.fromkeys(row["cell"] for row in rows))
    videos, effective = max((row["videos"], row["effective_videos"]) for row in rows if row["split"] == "test")
    note = f" ({note})" if (note := few_note(effective)) else ""
    figure = new_figure(9, 1.3 + 0.27 * len(names))
    title = f"Differences of mean CCC on {videos} test videos, 95 % intervals over videos{note}; black: without 0"
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, color=INK)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, second in zip(panels, ("concat", BETTER_STREAM), strict=True):
        shown = {
            row["cell"]: row
            for row in rows
            if (row["split"], row["kind"], row["first"], row["second"], row["target"])
            == ("test", "raw", "jca", second, "mean")
        }
        for at, name in enumerate(names):
            row = shown[name]
            sure = row["low"] > 0 or row["high"] < 0
            axes.plot((row["low"], row["high"]), (at, at), color=INK if sure else MUTED, linewidth=1.4)
            axes.plot(row["difference"], at, marker="o", markersize=5.5, color=TARGET_COLOURS["mean"],
                      markerfacecolor=INK if sure else "white")  # fmt: skip
        axes.axvline(0, color=FAINT, linewidth=1)
        axes.set_title(f"jca - {second}", loc="left", fontsize=10, color=INK)
        axes.set_xlabel("difference of mean CCC")
        quiet(axes, grid="x")
    labels = {row["cell"]: f"{row['factor']}: {row['level']}" for row in rows}
    panels[0].set_yticks(range(len(names)), [labels[name] for name in names])
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    save_png(figure, path)
