"""Times of the last runs of the stages here, and which of these runs were complete."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from avfusion.params.locked import changed_keys

CLOCK_SLACK_S = 5.0  # for the clocks of file systems, and DVC's copies of small outs


@dataclass(frozen=True)
class StageTime:
    """Times of a stage's last run.

    Attributes:
        ended: When it ended, in seconds since the epoch.
        before: It was on another corpus, or before the stage `corpus` last ran.
    """

    wall_s: float
    cpu_s: float
    ended: float
    before: bool = False


def last_runs(root: Path, *, other_corpus: bool = False) -> dict[str, StageTime]:
    """Times of the last runs by stage, without stages that have not run here.

    Args:
        other_corpus: All runs were on a corpus other than that in params.yaml.
    """
    found = {}
    for path in sorted((root / ".avfusion" / "times").glob("*.json")):
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            found[path.stem] = StageTime(float(values["wall_s"]), float(values["cpu_s"]), path.stat().st_mtime)
        except (ValueError, KeyError, TypeError):  # cut short
            continue
    corpus = found.get("corpus")
    begun = corpus.ended - corpus.wall_s if corpus else 0.0
    late = {name for name, run in found.items() if name != "render" and run.ended < begun}
    return {name: replace(run, before=other_corpus or name in late) for name, run in found.items()}


def whole_runs(root: Path, runs: Mapping[str, StageTime]) -> dict[str, StageTime]:
    """The runs that made everything, with the current parameters.

    A stage makes only what is missing or outdated. A run made everything if the oldest file of its outs dates from the
    run. (Younger files prove nothing: DVC copies some back from its cache afterwards.) Its parameters are in dvc.lock.
    """
    locked, params = _mapping(root / "dvc.lock").get("stages", {}), _mapping(root / "params.yaml")
    return {name: run for name, run in runs.items() if name in locked and _whole(root, run, locked[name], params)}


def _mapping(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; empty without a file or a mapping."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        return {}
    return values if isinstance(values, dict) else {}


def _whole(root: Path, run: StageTime, locked: Mapping[str, Any], params: Mapping[str, Any]) -> bool:
    sections = locked.get("params", {}).get("params.yaml", {})
    if changed_keys(sections, params):
        return False
    outs = [root / out["path"] for out in locked.get("outs", [])]
    times = [path.stat().st_mtime for out in outs for path in _files(out)]
    begun = run.ended - run.wall_s - CLOCK_SLACK_S
    there = bool(times) and all(out.exists() for out in outs)
    return there and begun <= min(times) <= run.ended + CLOCK_SLACK_S


def _files(out: Path) -> list[Path]:
    return [path for path in (out.rglob("*") if out.is_dir() else [out]) if path.is_file()]
