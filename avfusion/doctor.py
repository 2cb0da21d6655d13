"""`avfusion doctor`: environment, parameters and corpus; what is fine, what is missing, what a run costs.

Nothing is decoded: the report rests on folders, sizes, hashes of the scan, and the tables of earlier stages.
"""

import json
import os
import platform
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from avfusion.config import Params, load_params
from avfusion.corpora.adapters import corpus_root, open_corpus
from avfusion.corpora.demo.render import is_rendered
from avfusion.corpora.layout import CorpusLayout
from avfusion.corpora.sources import compare, describe_sources, read_sources
from avfusion.corpora.table import Track, read_tracks
from avfusion.errors import AVFusionError, BadInputError
from avfusion.tracking.store import moved_store

Status = Literal["ok", "warn", "missing"]
PACKAGES = ("torch", "torchvision", "torchaudio", "av", "opencv-python-headless", "mlflow", "dvc", "optuna")
ENVIRONMENT_SIZE = "about 3 GB to download, 6 GB on disk (.venv)"
CROP_BYTES = 5000  # of a 112x112 JPEG, where no crops are delivered
AUDIO_BYTES_PER_S = 2 * 44100
PAPER_WIDTH = 512  # features per stream; narrow backbones have fewer


@dataclass(frozen=True)
class Item:
    """One finding."""

    section: str
    name: str
    status: Status
    text: str


@dataclass(frozen=True)
class Report:
    """All findings, the warnings of every track, and the size of the corpus and of what is made of it.

    `cost` has tracks, frames, hours, and gigabytes of the stores (None while unknown), and the seconds that each
    stage took when it last ran.
    """

    items: tuple[Item, ...]
    tracks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    cost: dict[str, Any] = field(default_factory=dict)

    @property
    def missing(self) -> bool:
        """Something is missing without which nothing can be computed."""
        return any(item.status == "missing" for item in self.items)

    @property
    def exit_code(self) -> int:
        """0: nothing is missing; 2: what the user gives (parameters, data) cannot be used; 1: our environment."""
        sections = {item.section for item in self.items if item.status == "missing"}
        return 0 if not sections else 1 if "environment" in sections else 2

    def to_json(self) -> str:
        """The report for programs."""
        return json.dumps(asdict(self), sort_keys=True, indent=2, ensure_ascii=False)


def diagnose(root: Path, params: Params | None = None) -> Report:
    """Look at the project in `root`; its params.yaml is read (and judged) unless `params` are given."""
    items = [*_environment(), _tracking(root)]
    if params is None:
        try:
            params = load_params(root / "params.yaml")
            items.append(Item("params", "params.yaml", "ok", "valid"))
        except BadInputError as error:
            items.append(Item("params", "params.yaml", "missing", str(error)))
            return Report(tuple(items))
    layout, found = _corpus(root, params)
    items += found
    tracks, found = _table(root)
    items += found
    warnings = {track.track: track.warnings for track in tracks or (layout.tracks if layout else ())}
    cost = _cost(root, params, tracks)
    items.append(_disk(root, cost))
    return Report(tuple(items), {name: found for name, found in sorted(warnings.items()) if found}, cost)


def _environment() -> list[Item]:
    items = [Item("environment", "python", "ok", platform.python_version())]
    for package in PACKAGES:
        try:
            items.append(Item("environment", package, "ok", metadata.version(package)))
        except metadata.PackageNotFoundError:
            items.append(Item("environment", package, "missing", "not installed: run `make setup`"))
    items.append(Item("environment", "size", "ok", ENVIRONMENT_SIZE))
    items.append(Item("environment", "device", "ok", _device()))
    return items


def _device() -> str:
    cores = f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} CPU cores"
    try:
        import torch
    except ImportError:
        return cores
    if not torch.cuda.is_available():
        return f"{cores}, no GPU"
    cards = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return f"{cores}, " + ", ".join(f"{card.name} ({card.total_memory / 1e9:.0f} GB)" for card in cards)


def _tracking(root: Path) -> Item:
    if os.environ.get("MLFLOW_TRACKING_URI"):
        return Item("environment", "tracking store", "ok", "as MLFLOW_TRACKING_URI says")
    if problem := moved_store(root):
        return Item("environment", "tracking store", "warn", problem)
    state = "" if (root / "mlruns" / "mlflow.db").is_file() else " (made by the first run)"
    return Item("environment", "tracking store", "ok", f"mlruns/mlflow.db{state}")


def _corpus(root: Path, params: Params) -> tuple[CorpusLayout | None, list[Item]]:
    corpus = params.corpus
    folder = corpus_root(root, corpus)
    if corpus.name == "demo" and not is_rendered(folder, params.render):
        return None, [Item("corpus", "demo", "warn", f"{corpus.root} is not rendered yet: run `make demo`")]
    try:
        layout = open_corpus(corpus, folder)
    except BadInputError as error:
        return None, [Item("corpus", corpus.name, "missing", str(error))]
    items = []
    for split in ("train", "val", "test"):
        chosen = [track for track in layout.tracks if track.split == split]
        absent = sum(not track.video_path for track in chosen)
        uncropped = sum(bool(track.video_path) and not track.crops_paths for track in chosen)
        text = f"{len(chosen)} tracks of {len({track.video for track in chosen})} videos"
        text += f"; {absent} without their video" if absent else ""
        text += f"; {uncropped} without crops (faces will be detected)" if uncropped else ""
        items.append(Item("corpus", split, "warn" if absent or not chosen else "ok", text))
    items += [Item("corpus", "left out", "ok", note) for note in layout.notes]
    items.append(_scan_state(root, folder, layout))
    return layout, items


def _scan_state(root: Path, folder: Path, layout: CorpusLayout) -> Item:
    try:
        scanned = read_sources(root / "data" / "sources.txt")
    except BadInputError as error:
        return Item("corpus", "scan", "missing", str(error))
    summary = compare(layout, describe_sources(layout, folder), scanned)
    if summary.same:
        return Item("corpus", "scan", "ok", f"{summary.sources} sources as scanned, {summary.bytes / 1e9:.2f} GB")
    some = [*summary.added, *summary.removed, *summary.changed][:3]
    text = f"{summary} since the last scan ({', '.join(some)} …): run `avfusion scan`, then `dvc repro`"
    return Item("corpus", "scan", "warn", text)


def _table(root: Path) -> tuple[list[Track], list[Item]]:
    path = root / "data" / "corpus" / "tracks.parquet"
    if not path.is_file():
        return [], [Item("corpus", "table of tracks", "warn", "not made yet: run `dvc repro`")]
    try:
        tracks = read_tracks(path, unusable=True)
    except AVFusionError as error:
        return [], [Item("corpus", "table of tracks", "warn", str(error))]
    failed = [track.track for track in tracks if not track.frames]
    warned = sum(bool(track.warnings) for track in tracks)
    text = f"{len(tracks)} tracks, {warned} with warnings"
    text += f", {len(failed)} unusable: {', '.join(failed[:5])}" if failed else ""
    return tracks, [Item("corpus", "table of tracks", "warn" if failed else "ok", text)]


def _cost(root: Path, params: Params, tracks: Sequence[Track]) -> dict[str, Any]:
    """Sizes by the table of tracks; a video's sound is stored once."""
    times = {}
    for path in sorted((root / ".avfusion" / "times").glob("*.json")):
        try:
            times[path.stem] = json.loads(path.read_text(encoding="utf-8"))["wall_s"]
        except (ValueError, KeyError):
            continue
    cost: dict[str, Any] = {"tracks": None, "frames": None, "hours": None, "gigabytes": None, "last_run_s": times}
    usable = [track for track in tracks if track.frames]
    if usable:
        frames = sum(track.frames for track in usable)
        videos = {track.video: track for track in usable}
        sound = sum(track.duration_s * AUDIO_BYTES_PER_S for track in videos.values() if track.has_audio)
        clips = sum(track.frames / params.features.stride for track in usable)
        width = PAPER_WIDTH * (49 if params.backbones.output == "map" else 1) + PAPER_WIDTH
        gigabytes = {"frames": _crop_bytes(root) or frames * CROP_BYTES, "audio": sound, "features": clips * width * 2}
        cost |= {
            "tracks": len(usable),
            "frames": frames,
            "hours": round(sum(track.duration_s for track in videos.values()) / 3600, 3),
            "gigabytes": {name: round(size / 1e9, 3) for name, size in gigabytes.items()},
        }
    return cost


def _crop_bytes(root: Path) -> int:
    """Bytes of the delivered crops, which pass into the store as they are; 0 where there are none."""
    try:
        return sum(
            source.size for path, source in read_sources(root / "data" / "sources.txt").items() if path[-1] == "/"
        )
    except BadInputError:
        return 0


def _disk(root: Path, cost: dict[str, Any]) -> Item:
    free = shutil.disk_usage(root).free / 1e9
    if not cost["gigabytes"]:
        return Item("cost", "disk", "ok", f"{free:.1f} GB free; the need is known after the stage `corpus`")
    need = sum(cost["gigabytes"].values())
    text = f"{free:.1f} GB free; about {need:.2f} GB for frames, audio and features, and as much for DVC's cache"
    return Item("cost", "disk", "ok" if free > 2 * need else "warn", text)


def print_report(report: Report, console: Console | None = None, tracks_shown: int = 20) -> None:
    """Print the findings as a table, the first tracks with warnings, and the cost."""
    console = console or Console(highlight=False, width=None if os.isatty(1) else 120)
    marks = {"ok": "[green]ok[/]", "warn": "[yellow]look[/]", "missing": "[red]missing[/]"}
    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(4):
        table.add_column(overflow="fold")
    for item in report.items:
        table.add_row(marks[item.status], item.section, item.name, item.text.replace("[", r"\["))
    console.print(table)
    for name, warnings in list(report.tracks.items())[:tracks_shown]:
        console.print(f"  {name}: {'; '.join(warnings)}", markup=False)
    if len(report.tracks) > tracks_shown:
        console.print(f"  … and {len(report.tracks) - tracks_shown} more tracks with warnings (--json lists them)")
    cost = report.cost
    if cost.get("frames"):
        sizes = ", ".join(f"{name} {size:.2f} GB" for name, size in cost["gigabytes"].items())
        console.print(f"{cost['tracks']} tracks, {cost['frames']} frames, {cost['hours']:.2f} hours; about {sizes}")
    if cost.get("last_run_s"):
        spent = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in cost["last_run_s"].items())
        console.print(f"last run of each stage: {spent}")
