"""reports/evaluate/report.html: the evaluation as a page, made from the numbers in the files beside it."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import floor
from pathlib import Path
from typing import Any

import numpy as np

from avfusion.corpora.attributes import NOT_GIVEN
from avfusion.corpora.demo.truth import ORACLES
from avfusion.corpora.notes import as_sentence, corpus_notes
from avfusion.reports.attention_gain import ABLATIONS, EXPLAINED, attention_rows, attention_sentence
from avfusion.reports.page.templates import page_template
from avfusion.reports.page.tracks import crop_thumbnails, track_figure, worst_tracks
from avfusion.reports.plots.style import model_title
from avfusion.reports.plots.traces import CONDITION_TITLES
from avfusion.reports.report import shown_lines
from avfusion.reports.settings import EvaluateSettings, ReportSettings
from avfusion.reports.verdicts import verdict, verdict_sentences
from avfusion.runtime.atomic import write_text
from avfusion.runtime.errors import BadInputError
from avfusion.scoring.metrics import scores_by_presence
from avfusion.scoring.track_predictions import TARGETS, TrackPredictions

SPLIT_WORDS = {"val": "validation", "test": "test"}
FACES_NOT_TO_BE_SHOWN = ("affwild2",)
WORST_ROWS = 8


@dataclass(frozen=True)
class PageSources:
    """Sources of the page's details about a track.

    Attributes:
        attention: returns the end times (T,) of a track's clips in seconds, and the main model's attention by title,
            (T,) each.
    """

    attention: Callable[[str], tuple[np.ndarray, Mapping[str, np.ndarray]]]
    frames: Path
    corpus: str


def write_page(
    folder: Path,
    splits: Mapping[str, Sequence[TrackPredictions]],
    models: Sequence[str],
    config: EvaluateSettings,
    report: ReportSettings,
    sources: PageSources,
) -> Path:
    """Write `report.html` into the folder that `write_evaluation` filled; `models` begins with the main one.

    The page is one file that loads nothing. It shows face crops only if `report.thumbnails` allows it.

    Raises:
        BadInputError: `report.thumbnails` is true for a corpus whose licence forbids showing its faces.
    """
    if report.thumbnails and sources.corpus in FACES_NOT_TO_BE_SHOWN:
        raise BadInputError(
            f"params.yaml: report.thumbnails is true: must be false, since the licence of {sources.corpus} forbids "
            "to show its faces"
        )
    files = ("metrics", "comparisons", "conditions", "protocol")
    metrics, comparisons, conditions, protocol = (_read(folder / f"{name}.json") for name in files)
    main = models[0]
    scored = [split for split in ("test", "val") if metrics.get(split, {}).get(main, {}).get("ccc_mean") is not None]
    shown = scored[0] if scored else "val"
    tracks = splits.get(shown, [])
    worst = worst_tracks(tracks, main)
    left_end = _left_end([-0.25, *(row[f"ccc_{target}"] for row in worst for target in TARGETS)])
    figures = _figures(tracks, worst, main, config, report, sources)
    drawn = {figure["track"]: f"track-{i}" for i, figure in enumerate(f for p in figures for f in p["figures"])}
    notes = protocol["intervals"]["notes"]
    noted = [f"{SPLIT_WORDS[split].capitalize()}: {notes[split]}" for split in scored if split in notes]
    text = page_template("avfusion.reports.page", "page.html.jinja").render(
        title=model_title(main),
        lines=shown_lines,
        corpus=sources.corpus,
        notes=[*map(as_sentence, (*corpus_notes(sources.corpus), *protocol.get("seen_data", {}).get("notes", ())))],
        oracles=any(metrics[split].get(oracle) for split in scored for oracle in ORACLES),
        protocol=protocol,
        lead=_lead(metrics, comparisons, main, shown, notes) if scored else ["No track has labels to score by."],
        splits=[_split(split, metrics[split], models, notes, protocol.get("heads", {})) for split in scored],
        differences=[row for split in scored for row in _differences(split, comparisons.get(split, {}))],
        note=f"{'; '.join(noted)}." if noted else "",
        gains=[_gains(split, metrics[split], models, protocol.get("attention", {}), notes) for split in scored],
        ablations=list(ABLATIONS.values()),
        explained=EXPLAINED,
        released=_released(metrics, scored, models),
        calibrated=[
            {"split": SPLIT_WORDS[split], "entry": found, "raw": metrics[split][main]}
            for split in scored
            if (found := metrics[split][main].get("calibrated"))
        ],
        people=[table for split in scored for table in _people(split, metrics[split][main].get("attributes", {}))],
        shown={"words": SPLIT_WORDS[shown]},
        dots=[_dots(target, worst, left_end) for target in TARGETS],
        scale=[{"left": _along(value, left_end), "text": f"{value:g}"} for value in np.arange(left_end, 1.01, 0.25)],
        worst=worst[:WORST_ROWS],
        drawn=drawn,
        figures=figures,
        attended=any(figure["bands"] for part in figures for figure in part["figures"]),
        presence=[{**_row(model, main), "parts": scores_by_presence(tracks, model)} for model in models],
        conditions=[{**_row(model, main), "parts": parts} for model in models if (parts := conditions[shown][model])],
        condition_names=[CONDITION_TITLES.get(name, name) for name in next(iter(conditions[shown].values()), {})],
        facts=_facts(protocol, shown),
    )
    path = folder / "report.html"
    write_text(path, text)
    return path


def _lead(
    metrics: Mapping[str, Any], comparisons: Mapping[str, Any], main: str, split: str, notes: Mapping[str, str]
) -> list[str]:
    """The result in words."""
    entry = metrics[split][main]
    text = (
        f"On {entry['videos']} {SPLIT_WORDS[split]} videos {model_title(main)} reaches a CCC of "
        f"{entry['ccc_valence']:.2f} in valence and {entry['ccc_arousal']:.2f} in arousal, "
        f"{entry['ccc_mean']:.2f} on average"
    )
    ends = entry["ci95_mean"]
    text += f" (95 % interval {ends[0]:.2f} to {ends[1]:.2f}{_colon(notes.get(split))})." if ends else "."
    found = {model_title(other): entries["mean"] for other, entries in comparisons.get(split, {}).items()}
    words = verdict_sentences(found, seeds=1)
    return [text, " ".join(words)] if words else [text]


def _split(
    name: str,
    entries: Mapping[str, Any],
    models: Sequence[str],
    notes: Mapping[str, str],
    heads: Mapping[str, str | None],
) -> dict[str, Any]:
    main = models[0]
    ranked = sorted(models, key=lambda model: -(entries[model]["ccc_mean"] or -1))
    shown = [*ranked, *(oracle for oracle in ORACLES if entries.get(oracle, {}).get("ccc_mean") is not None)]
    ends = [end for model in shown for end in (entries[model]["ccc_mean"], *(entries[model]["ci95_mean"] or ()))]
    lowest = _left_end(ends)
    rows = []
    for model in shown:
        entry = entries[model]
        row = {**_row(model, main), "head": heads.get(model) or "–", "entry": entry}
        ends = entry["ci95_mean"]
        row["at"] = _along(entry["ccc_mean"], lowest)
        row["bar"] = {"low": _along(ends[0], lowest), "high": 100 - _along(ends[1], lowest)} if ends else None
        rows.append(row)
    counts = {key: entries[main][key] for key in ("frames", "tracks", "videos", "groups")}
    counts |= {"effective": entries[main]["effective_videos"], "lowest": lowest, "zero": _along(0, lowest)}
    return {"words": SPLIT_WORDS[name].capitalize(), "note": notes.get(name, ""), "rows": rows, **counts}


def _left_end(scores: Sequence[float]) -> float:
    """Left end of an axis of CCCs that cuts none of them: at most 0, a multiple of a quarter."""
    return min(0.0, floor(4 * min(scores)) / 4)


def _along(score: float, lowest: float) -> float:
    """Place of a score on an axis from `lowest` to 1, in percent."""
    return round(100 * (score - lowest) / (1 - lowest), 2)


def _released(metrics: Mapping[str, Any], scored: Sequence[str], models: Sequence[str]) -> list[dict[str, Any]]:
    """The published code's scores, smoothed, beside ours, if `evaluate.released_protocol` is set."""
    rows = []
    for split in scored:
        for model in models:
            ours = metrics[split][model]
            if theirs := ours.get("released_protocol"):
                words = {"split": SPLIT_WORDS[split], **_row(model, models[0])}
                rows.append({**words, "ours": ours["smoothed"], "theirs": theirs["smoothed"]})
    return rows


def _gains(
    split: str,
    entries: Mapping[str, Any],
    models: Sequence[str],
    facts: Mapping[str, Mapping[str, str]],
    notes: Mapping[str, str],
) -> dict[str, Any]:
    """What attention adds, if `evaluate.ablate` is set: a sentence per model with attention, a row per model."""
    found = {model: entries[model]["attention"] for model in models if "attention" in entries[model]}
    gains = {model: {**facts[model], "differences": differences} for model, differences in found.items()}
    sentences = [
        sentence for model, gain in gains.items() if (sentence := attention_sentence(model_title(model), gain))
    ]
    rows = [
        {**_row(row["model"], models[0]), "cells": [row[ablation] for ablation in ABLATIONS]}
        for row in attention_rows(gains)
    ]
    words = SPLIT_WORDS[split].capitalize()
    return {"words": words, "note": notes.get(split, ""), "sentences": sentences, "rows": rows}


def _people(split: str, attributes: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The main model's scores by category, a table for each attribute of people; `note`: of all its rows."""
    tables = []
    for attribute, categories in attributes.items():
        order = sorted(categories, key=lambda category: (not category, category))  # those without one come last
        rows = [{**categories[category], "category": category or NOT_GIVEN} for category in order]
        notes = {row["note"] for row in rows}
        note = notes.pop() if len(notes) == 1 else ""
        tables.append({"words": SPLIT_WORDS[split].capitalize(), "attribute": attribute, "rows": rows, "note": note})
    return tables


def _row(model: str, main: str) -> dict[str, str]:
    kind = "main" if model == main else "oracle" if model in ORACLES else ""
    return {"title": model_title(model), "kind": kind}


def _differences(split: str, found: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "split": SPLIT_WORDS[split],
            "title": model_title(other),
            "entry": entry,
            "words": verdict(entry["mean"], seeds=1).value,
        }
        for other, entry in found.items()
    ]


def _figures(
    tracks: Sequence[TrackPredictions],
    worst: Sequence[Mapping[str, Any]],
    main: str,
    config: EvaluateSettings,
    report: ReportSettings,
    sources: PageSources,
) -> list[dict[str, Any]]:
    """The worst tracks, and an even choice of the rest."""
    by_name = {track.track: track for track in tracks}
    lowest = [by_name[row["track"]] for row in worst[: report.worst_tracks]]
    rest = [track for track in tracks if track not in lowest]
    count = min(report.tracks, len(rest))
    others = [rest[i * len(rest) // count] for i in range(count)]

    def figure(track: TrackPredictions) -> dict[str, Any]:
        seconds, attention = sources.attention(track.track)
        table = sources.frames / f"{track.track}.parquet"
        thumbnails = crop_thumbnails(table) if report.thumbnails else []
        return track_figure(track, main, config.windows_s, attention, seconds, thumbnails)

    parts = {"Where it was worst": lowest, "Other tracks": others}
    return [{"title": title, "figures": [figure(track) for track in part]} for title, part in parts.items() if part]


def _dots(target: str, rows: Sequence[Mapping[str, Any]], left_end: float) -> dict[str, Any]:
    scores = [row[f"ccc_{target}"] for row in rows]
    dots = [
        {"left": _along(score, left_end), "track": row["track"], "ccc": score}
        for score, row in zip(scores, rows, strict=True)
    ]
    return {
        "target": target,
        "dots": dots,
        "median": _along(float(np.median(scores)) if scores else left_end, left_end),
    }


def _facts(protocol: Mapping[str, Any], shown: str) -> list[tuple[str, str]]:
    """The protocol in words."""
    smoothing, intervals, geometry = protocol["smoothing"], protocol["intervals"], protocol["geometry"]
    windows = f"{smoothing['valence_s']:g} s in valence, {smoothing['arousal_s']:g} s in arousal"
    sequences = protocol["sequences"][protocol["model"]["name"]]
    counts = ", ".join(
        f"{SPLIT_WORDS[split]} {intervals['videos'][split]} (effectively {effective:.1f})"
        for split, effective in intervals["effective_videos"].items()
        if effective
    )
    return [
        ("Pooling", f"{protocol['pooling']}. Mean: of the two targets' CCCs."),
        ("Masking", "frames without a valid label (-5 in either value) leave the score after smoothing"),
        ("Smoothing", f"{smoothing['filter']}, {windows}, edges: {smoothing['edges']}; in the column that says so"),
        ("Between clips", f"{protocol['between_clips']}; a clip ends every {protocol['stride']} frames"),
        ("Range", f"predictions clipped to {protocol['clipped_to'][0]} … {protocol['clipped_to'][1]}"),
        ("Inference", f"{protocol['inference']}, {sequences}"),
        ("Clock", "the videos' own frames" if geometry["fps"] is None else f"{geometry['fps']:g} frames per second"),
        ("Intervals", f"95 %, over {intervals['clusters']}: {counts}; {intervals['form']}"),
        ("Test labels", protocol["test_labels"]),
        ("Traces, tracks", f"of the split {shown}"),
    ]


def _colon(note: str | None) -> str:
    return f"; {note}" if note else ""


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))
