"""The summary at the end of `make demo`: scores, times, and next steps."""

import json
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from avfusion.corpora.notes import corpus_notes
from avfusion.params.params import load_params
from avfusion.runtime.errors import AVFusionError, BadInputError

SPLITS = ("val", "test")
TARGETS = ("valence", "arousal", "mean")
RELEASED = "inflated: frames without a label count as 0; smoothed"
STAGES = (
    *("render", "corpus", "labels", "frames", "audio", "backbones", "features"),
    *("train", "evaluate", "robustness", "register"),
)
CHOSEN_BY = {
    "validation": " Validation videos also chose the epochs.",
    "inner": " A tenth of the training groups chose the epochs.",
}


def print_summary(root: Path) -> None:
    """Print the table of CCCs, seconds per stage, the places of the report and MLflow's page, and a predict command.

    Raises:
        BadInputError: the project has no `reports/evaluate/metrics.json`.
    """
    # Tables need a width also without a terminal.
    console = Console(highlight=False, width=None if os.isatty(1) else 120)
    path = root / "reports" / "evaluate" / "metrics.json"
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInputError(f"{path} is missing: run `make demo` or `dvc repro`") from None
    protocol = path.with_name("protocol.json")
    facts = json.loads(protocol.read_text(encoding="utf-8")) if protocol.is_file() else {}
    heads = facts.get("heads", {})
    for split in SPLITS:
        scored = _scored(metrics.get(split, {}))
        if scored:
            console.print(score_table(scored, split, heads))
        elif split in metrics:
            console.print(f"CCC, {split}: no track has labels")
        if released := _scored(_released(metrics.get(split, {}))):
            console.print(score_table(released, f"{split}, released protocol ({RELEASED})", heads))
    explained = "Pooled CCC over all valid frames, unsmoothed; in brackets the 95 % interval, over groups of videos."
    explained += " Slope: of labels on values; below 1 values are too wide (`predict --calibrated`)."
    if "stopping" in facts:
        explained += CHOSEN_BY[facts["stopping"]]
    demo = "oracle" in _scored(metrics.get("val", {}))
    if demo:
        explained += " Oracles: the best predictions from the known cues of both streams, or of one."
        if "oracle_clip" in metrics["val"]:
            explained += " oracle_linear: by sums of both streams over time; oracle_clip: from one clip of both."
    console.print(explained, style="dim")
    if times := stage_times(root):
        console.print(times, markup=False)
    _print_model(root, console)
    seen = facts.get("seen_data", {}).get("notes", ())
    for note in (*corpus_notes(load_params(root / "params.yaml", ["corpus"]).corpus.name), *seen):
        console.print(f"note         {note}", markup=False, soft_wrap=True)
    console.print("report       reports/evaluate/report.html, in a browser", markup=False)
    console.print("more         reports/evaluate/, reports/robustness/, reports/train/, reports/faces/", markup=False)
    if demo:
        console.print("three seeds  .venv/bin/avfusion compare --seeds 0,1,2 --split test (above is one)", markup=False)
    console.print("MLflow page  make ui, then http://127.0.0.1:5000", markup=False)
    if video := example_video(root):
        command = f".venv/bin/avfusion predict {shlex.quote(str(video))} -o predictions"
        console.print(f"try next     {command}", markup=False, soft_wrap=True)


def _released(scores: Mapping[str, Any]) -> dict[str, Any]:
    """The published code's scores, smoothed, by model."""
    found = {model: (entry or {}).get("released_protocol") for model, entry in scores.items()}
    return {model: entry["smoothed"] for model, entry in found.items() if entry}


def score_table(scores: Mapping[str, Any], split: str, heads: Mapping[str, str | None]) -> Table:
    """One split: a row per model, the best mean first, the oracles last; `heads`: types of the models' heads."""
    table = Table(title=f"CCC, {split}{_few_videos(scores)}", title_justify="left", title_style="bold")
    table.add_column("model", no_wrap=True)
    table.add_column("head", no_wrap=True)
    for target in TARGETS:
        table.add_column(target, justify="right", no_wrap=True)
    table.add_column("slope v/a", justify="right", no_wrap=True)
    ranked = sorted(scores, key=lambda model: (model.startswith("oracle"), -_mean(scores[model]), model))
    for position, model in enumerate(ranked):
        oracles_follow = position + 1 < len(ranked) and ranked[position + 1].startswith("oracle")
        cells = [*(_cell(scores[model] or {}, target) for target in TARGETS), _slopes(scores[model] or {})]
        table.add_row(
            model, heads.get(model) or "–", *cells, end_section=oracles_follow and not model.startswith("oracle")
        )
    return table


def stage_times(root: Path) -> str:
    """Wall and CPU seconds of each stage's last run here, in words; "" if no stage has run."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted((root / ".avfusion" / "times").glob("*.json"))}
    names = [name for name in STAGES if name in found] + [name for name in found if name not in STAGES]
    if not names:
        return ""
    wall, cpu = ({name: float(found[name][key]) for name in names} for key in ("wall_s", "cpu_s"))
    parts = ", ".join(f"{name} {wall[name]:.0f}/{cpu[name]:.0f}" for name in names)
    return f"seconds      {parts}; all {sum(wall.values()):.0f}/{sum(cpu.values()):.0f} (wall/CPU, last runs)"


def example_video(root: Path) -> str | None:
    """A test video of the corpus with faces and sound, relative to the project; None if there is none."""
    table = root / "data" / "corpus" / "tracks.parquet"
    if not table.is_file():
        return None
    from avfusion.corpora.adapters import corpus_root
    from avfusion.corpora.table import read_tracks

    folder = corpus_root(root, load_params(root / "params.yaml", ["corpus"]).corpus)
    tracks = [track for track in read_tracks(table) if track.split == "test" and track.has_audio and track.video_path]
    # With one person in the picture: of two, `predict` follows the larger.
    tracks.sort(key=lambda track: (track.track != track.video, track.track))
    for track in tracks:
        video = folder / track.video_path
        if video.is_file():
            inside = video.resolve().is_relative_to(root.resolve())
            return video.resolve().relative_to(root.resolve()).as_posix() if inside else str(video)
    return None


def _print_model(root: Path, console: Console) -> None:
    """Print the model's state in this project's registry, or else in the report, which may come from another store."""
    here, report = root / ".avfusion" / "registration.json", root / "reports" / "register" / "model_version.json"
    first, own = (json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None for path in (report, here))
    record = own if own and (first is None or own["model_digest"] == first["model_digest"]) else first
    if record is None:
        return
    decision = f"{record['decision']}: {record['reason']}"
    if "version" in record:
        aliases = _aliases(root, record)
        if record["decision"] not in aliases:
            decision = f"{', '.join(aliases) or 'no alias'} now; when registered, {decision}"
        decision = f"{record['name']} version {record['version']}, {decision}"
    console.print(f"model        {decision} ({record['model_digest'][:12]})", markup=False, soft_wrap=True)


def _aliases(root: Path, record: Mapping[str, Any]) -> list[str]:
    """The aliases that the registry gives the version now; if it cannot be asked, those that it had at first."""
    from avfusion.tracking.champion import aliases_now

    try:
        held = aliases_now(root, record["name"])
    except AVFusionError:
        return list(record["aliases"])
    return sorted(alias for alias, version in held.items() if version == record["version"])


def _scored(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Entries of the models with scores, and of the oracles if there is a truth."""
    found = {model for model, entry in scores.items() if _mean(entry) >= -1}
    return {model: entry for model, entry in scores.items() if found and (model in found or "oracle" not in model)}


def _slopes(entry: Mapping[str, Any]) -> str:
    """Slopes of labels on values, of valence and arousal."""
    slopes = [entry.get(f"slope_{target}") for target in TARGETS[:2]]
    return "–" if None in slopes else "/".join(f"{slope:.2f}" for slope in slopes)


def _few_videos(scores: Mapping[str, Any]) -> str:
    """A remark on the intervals of a split with few videos."""
    from avfusion.scoring.intervals import few_note

    known = ("videos", "effective_videos")  # of which metrics.json of older versions lack the second
    counts = [tuple(entry[key] for key in known) for entry in scores.values() if entry and all(map(entry.get, known))]
    if not counts:
        return ""
    videos, effective = max(counts)
    note = few_note(effective)
    return f" ({videos} videos, effectively {effective:.1f}{f'; {note}' if note else ''})"


def _mean(entry: Mapping[str, Any] | None) -> float:
    score = (entry or {}).get("ccc_mean")
    return -2.0 if score is None else float(score)


def _cell(entry: Mapping[str, Any], target: str) -> str:
    score, interval = entry.get(f"ccc_{target}"), entry.get(f"ci95_{target}")
    if score is None:
        return "–"
    if not interval or None in interval:
        return f"{score:.3f}"
    return f"{score:.3f} [{interval[0]:+.2f} {interval[1]:+.2f}]"
