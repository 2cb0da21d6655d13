"""Is the best point of a study better than the paper's? Both trained with new seeds, compared on validation and test.

A study's best score is the luckiest of many on one validation split with one seed; new seeds remove the luck of
training, and the test split the luck of validation.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from avfusion.corpora.demo.truth import truth_folder
from avfusion.experiments.evaluate import load_evaluated, predict_tracks, with_model
from avfusion.experiments.grid import Grid
from avfusion.experiments.start import refuse_start
from avfusion.experiments.sweep.progress import point_text
from avfusion.experiments.sweep.results import best_of
from avfusion.experiments.sweep.space import Point, SearchSpace, point_of
from avfusion.experiments.sweep.storage import default_storage, open_storage, public_url, storage_errors
from avfusion.experiments.sweep.study import open_study
from avfusion.experiments.training import config_of, read_inputs
from avfusion.experiments.training_store import FinishedTraining
from avfusion.params.params import Params, load_params
from avfusion.reports.comparison_table import differences_table, scores_table
from avfusion.reports.report import write_report
from avfusion.runtime.devices import default_device
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.project import project_root, workspace_root
from avfusion.scoring.metrics import pooled_scores
from avfusion.scoring.seeds import entry_name, seed_summary
from avfusion.scoring.track_predictions import TrackPredictions
from avfusion.training.determinism import make_deterministic
from avfusion.training.settings import TrainSettings

SECTIONS = ("common", "corpus", "evaluate", "geometry", "train", "sweep")
SPLITS = ("val", "test")
BEST, PAPER = "best found", "the paper's"


def confirm_best(seeds: Sequence[int], storage: str | None = None) -> str:
    """`avfusion sweep --confirm`: write reports/sweep/confirmation.json; returns the tables as Markdown.

    Args:
        seeds: new seeds, without `train.seed`, which the best point was selected with.
        storage: URL; None: the project's own.

    Raises:
        BadInputError: the study has no completed trial, or a split has no labels.
        AVFusionError: the storage cannot be used.
    """
    root = workspace_root()
    params = load_params(root / "params.yaml", SECTIONS)
    refuse_start(params.train, "a sweep")
    points = study_points(params, storage or default_storage(project_root()))
    space = SearchSpace.of(params.sweep.space, params.train)
    for name, point in points.items():
        print(f"{name}: {point_text(point)}")
    results = compare_points(root, params, {n: space.train_config(point) for n, point in points.items()}, seeds)
    write_report(root / "reports" / "sweep" / "confirmation.json", {"points": points, **results})
    return "\n".join(scores_table(result) + differences_table(result) for result in results.values())


def study_points(params: Params, url: str) -> dict[str, Point]:
    """The best point of the study in params.yaml other than the paper's, and the paper's point.

    Raises:
        BadInputError: the study has no completed trial.
        AVFusionError: the storage cannot be used.
    """
    space = SearchSpace.of(params.sweep.space, params.train)
    with storage_errors(public_url(url)):
        study = open_study(open_storage(url, params.sweep.heartbeat), params.sweep, space)
        paper = space.paper_point()[0]
        others = [trial for trial in study.get_trials(deepcopy=False) if point_of(trial.params) != paper]
        best = best_of(others)
    if best is None:
        raise BadInputError(f"study {params.sweep.study} has no completed trial: run `avfusion sweep`")
    return {BEST: point_of(best.params), PAPER: paper}


def compare_points(
    root: Path, params: Params, points: Mapping[str, TrainSettings], seeds: Sequence[int]
) -> dict[str, dict[str, Any]]:
    """Train two points with every seed and score them on validation and test; a `seed_summary` by split.

    Raises:
        BadInputError: a split has no labels.
    """
    make_deterministic(params.common.threads)
    inputs = read_inputs(root, params.geometry, stopping=params.train.stopping)
    grid = Grid(root, inputs, params.geometry, params.common.threads, default_device())
    truth, stride, mode = truth_folder(root, params.corpus), grid.inputs.feature_spec.stride, params.train.inference
    evaluated = load_evaluated(root, params.geometry)
    tracks: dict[str, list[TrackPredictions]] = {}

    for split in SPLITS:
        tracks[split] = predict_tracks(evaluated[split], {}, params.geometry, stride, mode, root, truth)
        if not any(track.valid.any() for track in tracks[split]):
            raise BadInputError(f"no track of {split} has a label to score by")

    def use(key: tuple[str, int], finished: FinishedTraining, run: object) -> str:
        entry, model = entry_name(*key), finished.model(grid.device)
        for split in SPLITS:
            tracks[split] = with_model(tracks[split], evaluated[split], entry, model, params.geometry, stride, mode)
        scores = [pooled_scores(tracks[split], entry)["ccc_mean"] for split in SPLITS]
        return f"{entry}: mean CCC {scores[0]:.3f} on val, {scores[1]:.3f} on test"

    units = {
        (name, seed): grid.unit(config_of(config, config.model, seed=seed))
        for seed in seeds
        for name, config in points.items()
    }
    grid.run(units, use=use)
    return {split: seed_summary(tracks[split], list(points), seeds, [(BEST, PAPER)]) for split in SPLITS}
