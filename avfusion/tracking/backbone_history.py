"""Log backbones in the runs of the fusion training, since their stage trains before any run is open."""

import csv
import json
import math
from pathlib import Path

from avfusion.tracking.runs import TrackedRun

FOLDER = "backbones"


def log_backbones(run: TrackedRun, root: Path) -> None:
    """Log records and epochs of the backbones below `root`, once.

    Artifacts: models/backbones/<stream>.json and reports/backbones/history.csv, in `backbones/`. Metrics: each column
    `<stream>_<name>` of the history as `backbones/<stream>/<name>` over epochs, and the record's numbers of the kept
    epoch as `backbones/<stream>/best/<name>`. Backbones that were not trained here have no history. Backbones of folds
    have only records: `backbones/fold-<i>/…`.
    """
    history = root / "reports" / "backbones" / "history.csv"
    folder = root / "models" / "backbones"
    records = [record.relative_to(folder) for record in sorted(folder.rglob("*.json"))]
    rows: list[dict[str, str]] = []
    if history.is_file():
        run.log_artifact(history, FOLDER)
        with history.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    for record in records:
        place = (Path(FOLDER) / record.parent).as_posix()
        run.log_artifact(folder / record, place)
        if place == FOLDER:
            _log_epochs(run, record.stem, rows)
        _log_best(run, folder / record, f"{place}/{record.stem}/best")


def _log_epochs(run: TrackedRun, stream: str, rows: list[dict[str, str]]) -> None:
    columns = [name for name in (rows[0] if rows else ()) if name.startswith(f"{stream}_")]
    keys = {name: f"{FOLDER}/{stream}/{name.removeprefix(f'{stream}_')}" for name in columns}
    done = max((run.last_step(key) or 0 for key in keys.values()), default=0)
    for row in rows:
        metrics = {
            key: float(row[name]) for name, key in keys.items() if row[name]
        }  # empty: this stream's training had ended
        if metrics and int(row["epoch"]) > done:
            run.log_metrics(metrics, step=int(row["epoch"]))


def _log_best(run: TrackedRun, record: Path, key: str) -> None:
    scores = json.loads(record.read_text(encoding="utf-8")).get("metrics") or {}
    metrics = {
        f"{key}/{name}": float(value)
        for name, value in scores.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }
    if metrics and run.last_step(next(iter(metrics))) is None:
        run.log_metrics(metrics)
