"""The stage `evaluate`: reports/evaluate/ is kept while what decides it stays, and the models' runs have its scores."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from avfusion.corpora.demo.truth import truth_folder
from avfusion.corpora.table import read_tracks
from avfusion.data import features, frames, labels
from avfusion.data.audio import audio_samples
from avfusion.data.labelled_tracks import track_files
from avfusion.data.track_data import feature_path
from avfusion.experiments.ablation import control_config
from avfusion.experiments.evaluate import SPLITS, evaluate_models, trace_paths
from avfusion.experiments.grid import Grid
from avfusion.experiments.stage import Stage
from avfusion.experiments.train_stage import training_grid
from avfusion.experiments.training import config_of, model_folder, model_names
from avfusion.experiments.training_store import FinishedTraining, TrainingUnit
from avfusion.fusion.base import FusionModel
from avfusion.fusion.catalogue import fusion_module
from avfusion.fusion.files import CONFIG, WEIGHTS
from avfusion.fusion.model_folder import ModelFolder
from avfusion.params.params import Params
from avfusion.reports import page
from avfusion.reports.attention_gain import RETRAINED, ablated_name
from avfusion.runtime.devices import default_device
from avfusion.runtime.fingerprints import file_digest, fingerprint
from avfusion.runtime.stamped_reports import StampedReport
from avfusion.runtime.stamps import Stamp, content_of
from avfusion.runtime.units import unit_digest
from avfusion.tracking.answers import check_answers
from avfusion.tracking.training_runs import log_evaluation

OUTS = (
    *("metrics.json", "comparisons.json", "conditions.json", "tracks.csv", "attributes.csv", "video_sums.json"),
    *("report.html", "ccc.png", "plane.png", "predictions", "traces", "../summary.json"),
)
PROTOCOL = "protocol.json"
TRAINING_RUNS = Path("reports/train/run.json")
PAGE = Path(page.__path__[0])


def run_evaluation(stage: Stage) -> None:
    """Bring reports/evaluate/ up to date, and add the scores to the runs of the models where they lack them."""
    root, params = stage.root, stage.params
    if (root / TRAINING_RUNS).is_file():
        check_answers(stage.project)
    folder = root / "reports" / "evaluate"
    folders = {name: model_folder(root, name, params.train) for name in model_names(params.train)}
    grid, units = controls(root, params)
    wanted = evaluation_stamp(root, folders, params, units)
    report = StampedReport(folder, PROTOCOL, OUTS)
    if report.is_current(wanted):
        print("evaluated already: models, data, parameters and code are those of reports/evaluate/", flush=True)
    else:
        report.begin()
        main = next(iter(folders.values()))
        trained: dict[str, FusionModel] = {}

        def keep(name: str, finished: FinishedTraining, _: object) -> str:
            trained[name] = finished.model("cpu")
            return f"{ablated_name(name, RETRAINED)}: best epoch {finished.best_epoch}"

        if grid:
            grid.run(units, use=keep)
        evaluate_models(
            root,
            folders,
            ModelFolder.open(main).digest(),
            threads=params.common.threads,
            corpus=params.corpus,
            geometry=params.geometry,
            config=params.evaluate,
            report=params.report,
            controls=trained,
        )
        report.finish(wanted)
    _log(stage, folder, list(folders))


def controls(root: Path, params: Params) -> tuple[Grid | None, dict[str, TrainingUnit]]:
    """With `evaluate.ablate` the training of each model's control, by the model's name, and the grid that trains it."""
    if not params.evaluate.ablate:
        return None, {}
    grid = training_grid(root, params, default_device())
    configs = {name: control_config(config_of(params.train, name)) for name in model_names(params.train)}
    return grid, {name: grid.unit(config) for name, config in configs.items() if config}


def evaluation_stamp(
    root: Path, folders: Mapping[str, Path], params: Params, units: Mapping[str, TrainingUnit] | None = None
) -> Stamp:
    """What decides the files of reports/evaluate/: data, models, parameters and code, that of the models too.

    Args:
        folders: of the models by name, the main one first.
        units: the trainings of controls, from `controls`.
    """
    units = units or {}
    models = [fusion_module(name) for name in (*folders, *(unit.config.model for unit in units.values()))]
    truth = truth_folder(root, params.corpus)
    tracks = {}
    for track in read_tracks(root / "data" / "corpus" / "tracks.parquet"):
        if track.split not in SPLITS or not feature_path(root, track.track).is_file():
            continue
        files, known = track_files(root, track), truth / f"{track.track}.parquet" if truth else None
        tracks[track.track] = {
            "video": track.video,
            "group": track.group,
            "attributes": track.attributes,
            "split": track.split,
            "features": content_of(feature_path(root, track.track), features.read_stamp),
            "frames": content_of(files.frames, frames.read_stamp),
            "labels": content_of(files.labels, labels.read_stamp),
            "samples": audio_samples(files.sound),
            "truth": file_digest(known) if known and known.is_file() else None,
        }
    made = fingerprint(
        tracks=list(tracks.items()),
        models=[(name, _digest(folder / CONFIG), _digest(folder / WEIGHTS)) for name, folder in folders.items()],
        controls={name: unit.digest for name, unit in units.items()},
        main=ModelFolder.open(next(iter(folders.values()))).digest(),
        threads=params.common.threads,
        corpus=params.corpus.name,
        geometry=params.geometry.model_dump(mode="json"),
        evaluate=params.evaluate.model_dump(mode="json"),
        report=params.report.model_dump(mode="json"),
        templates=_templates(),
    )
    return Stamp(made, unit_digest("evaluation", *models))


def _digest(path: Path) -> str | None:
    return file_digest(path) if path.is_file() else None


def _templates() -> dict[str, str]:
    """Digests of the page's template and style, which are no code."""
    files = sorted(path for kind in ("jinja", "css", "js") for path in PAGE.glob(f"*.{kind}"))
    return {path.name: file_digest(path) for path in files}


def _log(stage: Stage, folder: Path, names: Sequence[str]) -> None:
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    for entries in metrics.values():
        for entry in entries.values():
            entry.pop("attributes", None)  # categories are any text, names of MLflow's metrics are not
            entry.pop("labels", None)  # a word; metrics are numbers, and the run's notes say it
    files = {name: [folder / PROTOCOL] for name in names}
    files[names[0]] += [folder / "report.html", *trace_paths(folder), folder / "plane.png", folder / "ccc.png"]
    log_evaluation(
        stage.project,
        stage.root / TRAINING_RUNS,
        metrics,
        files,
        tag=("evaluation.content", file_digest(folder / PROTOCOL)),
    )
