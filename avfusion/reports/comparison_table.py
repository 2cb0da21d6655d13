"""The table of a comparison: scores over seeds with intervals, differences from joint cross-attention, costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avfusion.reports.attention_gain import attention_markdown
from avfusion.reports.report import LABELS_ON_VALUES, shown_lines, write_csv, write_report
from avfusion.runtime.atomic import write_text
from avfusion.scoring.calibration import lines_of_sums
from avfusion.scoring.ccc import ccc
from avfusion.scoring.intervals import effective_groups, few_note, holm, interval, p_value
from avfusion.scoring.metrics import NAMES, WEIGHTS, target_sums, valid_pairs
from avfusion.scoring.seeds import seed_coefficients, seed_spread
from avfusion.scoring.track_predictions import TARGETS, TrackPredictions

REFERENCE = "jca"
COSTS = ("parameters", "multiply_adds", "seconds_per_epoch", "ms_per_video_minute")
# Valence and arousal CCC on Aff-Wild2 as published, by split.
PUBLISHED = {
    "val": (
        ("ABAW3 baseline", 0.310, 0.170),
        ("ABAW8 baseline", 0.240, 0.20),
        ("JCA, CVPRW 2022", 0.663, 0.584),
        ("author's training log, T-BIOM code (unmasked protocol)", 0.715, 0.688),
        ("LFAN, ABAW2, 6-fold", 0.469, 0.649),
        ("GRJCA, ABAW8", 0.623, 0.660),
        ("Mamba-VA (visual only), ABAW8", 0.536, 0.431),
    ),
    "test": (
        ("ABAW3 baseline", 0.180, 0.170),
        ("ABAW8 baseline", 0.211, 0.191),
        ("JCA, CVPRW 2022", 0.374, 0.363),
        ("LFAN, ABAW2, 6-fold", 0.463, 0.492),
        ("co-attention V+A+L, ABAW3", 0.520, 0.602),
        ("GRJCA, ABAW8", 0.561, 0.620),
        ("Mamba-VA (visual only), ABAW8", 0.504, 0.412),
    ),
}


@dataclass(frozen=True)
class SeedScores:
    """Scores of one model with S seeds.

    Attributes:
        ccc: S pooled CCCs by target (valence, arousal, mean).
        sums: (2 S, G, 6) sums per group: valence and arousal of the first seed, then of the next.
    """

    ccc: dict[str, list[float]]
    sums: np.ndarray

    @classmethod
    def of(cls, tracks: Sequence[TrackPredictions], entries: Sequence[str]) -> "SeedScores":
        """Scores of the predictions `entries` of a model, one per seed."""
        pairs = [valid_pairs(tracks, entry) for entry in entries]
        both = [[ccc(predictions[:, c], labels[:, c]) for c in range(2)] for predictions, labels, _ in pairs]
        scores = {target: [float(np.dot(weights, score)) for score in both] for target, weights in WEIGHTS.items()}
        return cls(scores, np.concatenate([target_sums(*pair) for pair in pairs]))


def comparison_rows(
    scores: Mapping[str, SeedScores],
    costs: Mapping[str, Mapping[str, float | None]],
    heads: Mapping[str, str | None],
) -> list[dict[str, Any]]:
    """A row per model.

    Columns: model, head (its type), seeds, videos, effective_videos; for valence, arousal and mean the CCC's mean over
    seeds `ccc_*`, its standard deviation over seeds `sd_*`, the 95 % interval of the mean `low_*`, `high_*`, over base
    videos and seeds; `slope_*` and `offset_*` of the line of labels on predictions, means over seeds; the difference to
    jca `minus_jca_*` with its paired interval, its p value and that adjusted for the number of models, `_p_holm` (None
    without jca); `COSTS`.
    """
    rows = []
    for name, own in scores.items():
        count = len(own.ccc["mean"])
        row: dict[str, Any] = {
            "model": name,
            "head": heads[name],
            "seeds": count,
            "videos": int((own.sums[0, :, 0] > 0).sum()),
            "effective_videos": effective_groups(own.sums[0, :, 0]),
        }
        for target, weights in WEIGHTS.items():
            spread = seed_spread(own.ccc[target])
            low, high = interval(own.sums, seed_coefficients(weights, (1,), count)) or (None, None)
            row |= {f"ccc_{target}": spread["mean"], f"sd_{target}": spread["sd"]}
            row |= {f"low_{target}": low, f"high_{target}": high}
        lines = lines_of_sums(own.sums.sum(axis=1)).reshape(count, 2, 2).mean(axis=0)
        for target, (slope, offset) in zip(TARGETS, lines, strict=True):
            known = bool(np.isfinite(slope))
            row |= {
                f"slope_{target}": float(slope) if known else None,
                f"offset_{target}": float(offset) if known else None,
            }
        for target in NAMES:
            row |= _difference(own, None if name == REFERENCE else scores.get(REFERENCE), target)
        rows.append(row)
    for target in NAMES:
        key = f"minus_{REFERENCE}_{target}_p"
        for row, p in zip(rows, holm([row[key] for row in rows]), strict=True):
            row[f"{key}_holm"] = p
    return [row | dict(costs[row["model"]]) for row in rows]


def _difference(own: SeedScores, other: SeedScores | None, target: str) -> dict[str, Any]:
    keys = [f"minus_{REFERENCE}_{target}{end}" for end in ("", "_low", "_high", "_p")]
    if other is None:
        return dict.fromkeys(keys)
    sums = np.concatenate([own.sums, other.sums])
    count = len(own.ccc[target])
    signed = seed_coefficients(WEIGHTS[target], (1, -1), count)
    low, high = interval(sums, signed, fisher=False) or (None, None)
    difference = float(np.mean(own.ccc[target]) - np.mean(other.ccc[target]))
    return dict(zip(keys, (difference, low, high, p_value(sums, signed)), strict=True))


def write_comparison(
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    summary: Mapping[str, Any],
    corpus: str,
    remarks: Sequence[str] = (),
) -> str:
    """Write comparison.csv, .json and .md; return the text of the last. Published figures only for Aff-Wild2.

    Args:
        summary: from `seed_summary`; its entries that are not models of `rows` get rows of their own.
        remarks: sentences above the table.
    """
    write_csv(folder / "comparison.csv", rows)
    write_report(folder / "comparison.json", summary)
    text = comparison_markdown(rows, summary["split"], remarks, whole=bool(summary.get("whole")))
    names = [row["model"] for row in rows]
    for name, scores in summary["models"].items():
        if name not in names:
            cells = [name, "–", *(_spread(scores[f"ccc_{target}"]) for target in NAMES), *["–"] * 6]
            text += f"| {' | '.join(cells)} |\n"
    text += differences_table(summary)
    if gains := summary.get("attention"):
        text += attention_markdown(gains, summary["note"])
    text += published(summary["split"]) if corpus == "affwild2" else ""
    write_text(folder / "comparison.md", text)
    return text


def comparison_markdown(
    rows: Sequence[Mapping[str, Any]], split: str, remarks: Sequence[str] = (), *, whole: bool = False
) -> str:
    """The rows as a Markdown table, with a line that explains it, and `remarks`.

    Args:
        whole: each seed stands for a whole run, from backbones on.
    """
    runs = "whole runs" if whole else "seeds"
    videos, effective, seeds = (rows[0][key] for key in ("videos", "effective_videos", "seeds"))
    known = rows[0]["low_mean"] is not None
    difference = f"Difference to {REFERENCE}: of the mean CCC, paired; p adjusted for the number of models (Holm)."
    if REFERENCE not in [row["model"] for row in rows]:
        difference = f"No difference to {REFERENCE}, which is not among the models: add it with --models."
    words = [
        f"Pooled CCC on {split}, {videos} groups of videos (effectively {effective:.1f}): "
        + (
            f"mean ± standard deviation over {runs} ({seeds})"
            + (f", then the mean's 95 % interval, over groups and {runs}." if known else ".")
            if seeds > 1
            else "of one training each"
            + (", then its 95 % interval over groups, which holds for these trainings alone." if known else ".")
        ),
        difference,
        *(["A whole run has backbones, features and fusion models of its own."] if whole else []),
        *([f"{note.capitalize()}."] if (note := few_note(effective)) else []),
        *remarks,
    ]
    lines = [
        " ".join(words),
        "",
        f"| model | head | valence | arousal | mean | mean - {REFERENCE} | {LABELS_ON_VALUES} "
        "| parameters | M multiply-adds / sequence | s / epoch | fusion, ms / min of video |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [row["model"], row["head"] or "–", *(_shown(row, target) for target in NAMES), _shown_difference(row)]
        cells.append(shown_lines(row))
        cells += [f"{row['parameters']:,.0f}", f"{row['multiply_adds'] / 1e6:.1f}"]
        pace = row["seconds_per_epoch"]
        cells += ["–" if pace is None else f"{pace:.2f}", f"{row['ms_per_video_minute']:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def scores_table(summary: Mapping[str, Any]) -> str:
    """The scores of a `seed_summary` as a Markdown table."""
    seeds = ", ".join(map(str, summary["seeds"]))
    lines = [
        f"Pooled CCC on {summary['split']}, {summary['videos']} videos (effectively "
        f"{summary['effective_videos']:.1f}): mean ± standard deviation over seeds "
        f"{seeds}.",
        "",
        "| model | valence | arousal | mean |",
        "|---|---|---|---|",
    ]
    for name, scores in summary["models"].items():
        lines.append(f"| {' | '.join([name, *(_spread(scores[f'ccc_{target}']) for target in NAMES)])} |")
    return "\n".join(lines) + "\n"


def differences_table(summary: Mapping[str, Any]) -> str:
    """The differences of a `seed_summary` as a Markdown table below others; "" where there are none."""
    if not summary["differences"]:
        return ""
    note = f" ({summary['note']})" if summary["note"] else ""
    lines = ["", f"Differences of these means, with 95 % intervals paired over videos{note}:", ""]
    lines += ["| difference | valence | arousal | mean |", "|---|---|---|---|"]
    for pair, found in summary["differences"].items():
        cells = []
        for target in NAMES:
            value, ends = found[target]["difference"], found[target]["ci95"]
            cells.append(f"{value:+.3f}" + (f" [{ends[0]:+.3f}, {ends[1]:+.3f}]" if ends else ""))
        lines.append(f"| {' | '.join([pair, *cells])} |")
    return "\n".join(lines) + "\n"


def published(split: str) -> str:
    """Published figures of the split as a Markdown table."""
    lines = ["", f"Published, {split} (other features and protocols):", "", "| method | valence | arousal |"]
    lines += ["|---|---|---|", *(f"| {name} | {v:.3f} | {a:.3f} |" for name, v, a in PUBLISHED[split])]
    return "\n".join(lines) + "\n"


def _spread(score: Mapping[str, Any]) -> str:
    return f"{score['mean']:.3f}" + ("" if score["sd"] is None else f" ± {score['sd']:.3f}")


def _shown(row: Mapping[str, Any], target: str) -> str:
    sd = "" if row[f"sd_{target}"] is None else f" ± {row[f'sd_{target}']:.3f}"
    low, high = row[f"low_{target}"], row[f"high_{target}"]
    return f"{row[f'ccc_{target}']:.3f}{sd}" + ("" if low is None else f" [{low:.3f}, {high:.3f}]")


def _shown_p(p: float | None) -> str:
    """A p value as in a table: "p 0.012", "p < 0.001"."""
    return "" if p is None else "p < 0.001" if p < 0.0005 else f"p {p:.3f}"


def _shown_difference(row: Mapping[str, Any]) -> str:
    difference, low, high, p = (row[f"minus_{REFERENCE}_mean{end}"] for end in ("", "_low", "_high", "_p_holm"))
    if difference is None:
        return "–"
    return f"{difference:+.3f}" + ("" if low is None else f" [{low:+.3f}, {high:+.3f}], {_shown_p(p)}")
