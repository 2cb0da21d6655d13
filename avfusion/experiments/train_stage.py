"""The stage `train`: train the main model and its baselines on cached features, and write the stage's files.

The outs persist between runs of the stage: current ones are kept, stale ones replaced.
"""

import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from avfusion.corpora.notes import corpus_notes
from avfusion.experiments.calibrating import calibrate_model
from avfusion.experiments.grid import Grid, unlogged
from avfusion.experiments.train_unit import unit_scores
from avfusion.experiments.training import config_of, model_folder, model_names, read_inputs
from avfusion.experiments.training_store import SCORED, FinishedTraining
from avfusion.params.params import Params
from avfusion.params.record import every_param
from avfusion.reports.report import write_csv, write_report
from avfusion.runtime.atomic import write_json
from avfusion.runtime.devices import default_device
from avfusion.runtime.fingerprints import fingerprint
from avfusion.tracking.backbone_history import log_backbones
from avfusion.tracking.run_book import RunBook
from avfusion.tracking.runs import TrackedRun
from avfusion.tracking.training_runs import end_other_runs, log_trained_model
from avfusion.training.logger import RunLogger
from avfusion.training.loop import HISTORY_COLUMNS, OPTIONAL_COLUMNS


def run_train_stage(root: Path, project: Path, params: Params) -> None:
    """Bring models/fusion, models/baselines and reports/train up to date, each model an MLflow run under one parent.

    Args:
        params: sections common, corpus, frames, geometry and train.
    """
    grid = training_grid(root, params, default_device())
    inputs, features = grid.inputs, root / "data" / "features"
    seen = inputs.seen_data(params.corpus.name)
    digests = {name: grid.unit(config_of(params.train, name)).digest for name in model_names(params.train)}
    recorded = every_param(root / "params.yaml", params) | {"feature_spec": inputs.feature_spec.to_dict()}
    if inputs.start:
        recorded["start"] = inputs.start.facts
    scored = {"inputs": inputs.digests} if inputs.inner else {}  # else all of them are among those of the trainings
    same = fingerprint(trainings=digests, facts=_facts(grid, params), **scored)
    uses = {"train": "training", "val": "validation"} | ({"stopping": "stopping"} if inputs.inner else {})
    book = RunBook(
        project,
        grid.store.work / f"runs-{same[:16]}.json",
        recorded,
        {"corpus": params.corpus.name, "feature_spec": inputs.feature_spec.digest()}
        | {"stopping": inputs.stopping_split}
        | ({"seen_data": seen.mark} if seen.mark else {})
        | _noted(params),
        datasets={
            f"{params.corpus.name}-{split}": (inputs.digests[f"tracks_{split}"], features, use)
            for split, use in uses.items()
        },
        label=f"lr {params.train.lr:g}, seed {params.train.seed}",
    )
    reports, uris = root / "reports" / "train", {}
    with book.open("train") as parent:
        log_backbones(parent, root)

        def on_model(name: str, run: TrackedRun, folder: Path, metrics: Mapping[str, Any]) -> None:
            uris[name] = log_trained_model(run, folder, metrics)

        train_models(grid, params, lambda name: book.open(name, parent, {"model": name}), on_model)
        for name in ("history.csv", "metrics.json", "curves.png"):
            parent.log_artifact(reports / name)
        runs = {name: {"run_id": book.ids[name], "model_uri": uri} for name, uri in uris.items()}
        write_json(reports / "run.json", {"parent": parent.run_id, "runs": runs, "inputs": inputs.digests})
    end_other_runs(project, grid.store.work, book.book)


def _noted(params: Params) -> dict[str, str]:
    """The tag of a run with the notes of its models."""
    notes = corpus_notes(params.corpus.name)
    return {"notes": "; ".join(notes)} if notes else {}


def training_grid(root: Path, params: Params, device: str) -> Grid:
    """The grid of section `train`, on the features below `root`."""
    inputs = read_inputs(root, params.geometry, params.train, stopping=params.train.stopping)
    return Grid(root, inputs, params.geometry, params.common.threads, device)


def train_models(
    grid: Grid,
    params: Params,
    open_run: Callable[[str], AbstractContextManager[Any]] = unlogged,
    on_model: Callable[[str, Any, Path, Mapping[str, Any]], None] = lambda *_: None,
) -> None:
    """Find or train the main model and its baselines, and write models/ and reports/train/.

    Args:
        open_run: gives the run that a model's training is logged to.
        on_model: called with name, run, folder and final metrics when a model's files are written.
    """
    from avfusion.reports.plots.curves import plot_curves  # imports matplotlib, which sweep's workers do not need

    config, facts = params.train, _facts(grid, params)
    folders = {name: model_folder(grid.root, name, config) for name in model_names(config)}
    units = {name: grid.unit(config_of(config, name)) for name in folders}
    trained: dict[str, FinishedTraining] = {}
    metrics: dict[str, dict[str, Any]] = {}

    def use(name: str, finished: FinishedTraining, run: RunLogger) -> str:
        trained[name] = finished = _with_scores(grid, params, finished)
        epochs = {"best_epoch": finished.best_epoch, "epochs": len(finished.history)}
        metrics[name] = epochs | finished.record["scores"]
        start = units[name].start
        own = {"start": start.facts} if start else {}
        if calibration := calibrate_model(
            finished.model(grid.device),
            grid.inputs.stopping,
            params.geometry,
            grid.inputs.feature_spec.stride,
            config.inference,
            grid.inputs.stopping_split,
        ):
            own["calibration"] = calibration.to_dict()
        grid.store.publish(finished, folders[name], facts | own)
        with tempfile.TemporaryDirectory() as scratch:
            picture = Path(scratch) / "curves.png"
            plot_curves(picture, {name: finished.history}, {name: finished.best_epoch}, grid.inputs.stopping_split)
            run.log_artifact(picture)
        on_model(name, run, folders[name], metrics[name])
        return ""

    grid.run(units, open_run, use, quiet=False)
    _remove_others(grid, set(folders.values()))
    reports = grid.root / "reports" / "train"
    histories = {name: finished.history for name, finished in trained.items()}
    rows = [{"model": name, **row} for name, history in histories.items() for row in history]
    optional = (column for column in OPTIONAL_COLUMNS if any(column in row for row in rows))
    write_csv(reports / "history.csv", rows, ("model", *HISTORY_COLUMNS, *optional))
    write_report(reports / "metrics.json", metrics)
    best = {name: finished.best_epoch for name, finished in trained.items()}
    plot_curves(reports / "curves.png", histories, best, grid.inputs.stopping_split)


def _facts(grid: Grid, params: Params) -> dict[str, Any]:
    """Facts for inference that a model keeps beside its weights; the settings of crops decide no weight."""
    return {
        "feature_spec": grid.inputs.feature_spec.to_dict(),
        "geometry": params.geometry.model_dump(mode="json"),
        "frames": params.frames.model_dump(mode="json", exclude={"contact_sheets"}),
        "inference": params.train.inference,
        "corpus": {"name": params.corpus.name, "validation_digest": grid.inputs.digests["validation_corpus"]},
        "notes": list(corpus_notes(params.corpus.name)),
    } | ({"stopping": "inner"} if grid.inputs.inner else {})


def _with_scores(grid: Grid, params: Params, finished: FinishedTraining) -> FinishedTraining:
    """The training with its scores on its training, stopping and validation tracks."""
    inputs = grid.inputs
    splits = {"train": inputs.train, "val": inputs.validation} | ({"stopping": inputs.inner} if inputs.inner else {})
    # The stamp of a training that an inner split stopped does not know the validation tracks.
    scored = inputs.digests["tracks_val"] if inputs.inner else None
    if "scores" in finished.record and finished.record.get(SCORED) == scored:
        return finished
    scores = unit_scores(
        finished.model(grid.device),
        splits,
        grid.inputs.feature_spec,
        params.geometry,
        params.train,
        threads=params.common.threads,
    )
    return grid.store.add_scores(finished, scores, scored)


def _remove_others(grid: Grid, wanted: set[Path]) -> None:
    """Remove baselines that are not configured; the store keeps them."""
    baselines = grid.root / "models" / "baselines"
    baselines.mkdir(parents=True, exist_ok=True)  # an out of the stage, also without any
    for path in sorted(baselines.iterdir()):
        if path not in wanted:
            grid.store.keep(path)
            shutil.rmtree(path) if path.is_dir() else path.unlink()
