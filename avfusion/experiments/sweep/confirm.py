"""Is the best point of a study better than the paper's? Both trained with new seeds, compared on validation and test.

A study's best score is the luckiest of many on one validation split with one seed; new seeds take that luck away on
training's side, the test split on validation's.

python -m avfusion.experiments.sweep.confirm --seeds 1 2 3
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from avfusion.corpora.demo.truth import truth_folder
from avfusion.experiments.evaluate import load_evaluated, predict_tracks
from avfusion.experiments.seeds import seed_table
from avfusion.experiments.sweep.progress import point_text
from avfusion.experiments.sweep.results import best_of
from avfusion.experiments.sweep.space import Point, SearchSpace, point_of
from avfusion.experiments.sweep.storage import default_storage, open_storage, shown, storage_errors
from avfusion.experiments.sweep.study import open_study
from avfusion.experiments.training import read_inputs
from avfusion.params.params import Params, load_params
from avfusion.reports.report import write_report
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.runtime.project import project_root, workspace_root
from avfusion.scoring.bootstrap import FEW_VIDEOS, NOTE
from avfusion.scoring.metrics import NAMES, pooled_scores
from avfusion.scoring.seeds import entry_name, seed_difference, seed_spread
from avfusion.scoring.track_predictions import TrackPredictions
from avfusion.training.determinism import default_device, make_deterministic
from avfusion.training.loop import FusionTraining
from avfusion.training.settings import TrainSettings

SECTIONS = ("common", "corpus", "evaluate", "geometry", "train", "sweep")
BEST, PAPER = "best found", "the paper's"


def study_points(params: Params, url: str) -> dict[str, Point]:
    """The best point that the study of params.yaml found beside the paper's, and the paper's.

    Raises:
        BadInputError: no trial of it was completed.
        AVFusionError: the storage cannot be used.
    """
    space = SearchSpace.of(params.sweep.space, params.train)
    with storage_errors(shown(url)):
        study = open_study(open_storage(url, params.sweep.heartbeat), params.sweep, space)
        paper = space.paper_point()[0]
        others = [trial for trial in study.get_trials(deepcopy=False) if point_of(trial.params) != paper]
        best = best_of(others)
    if best is None:
        raise BadInputError(f"study {params.sweep.study} has no completed trial: run `avfusion sweep`")
    return {BEST: point_of(best.params), PAPER: paper}


def compare_points(
    root: Path, params: Params, points: Mapping[str, TrainSettings], seeds: Sequence[int], splits: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Train two points with every seed and score them on every split.

    Returns:
        By split, `evaluation.seeds`' form: `models` ({point: {ccc_mean: {mean, sd, seeds}, …}}) and `differences`
        (the first minus the second, with an interval paired over base videos).

    Raises:
        BadInputError: a split has no labels.
    """
    make_deterministic(params.common.threads)
    device, inputs = default_device(), read_inputs(root, params.geometry)
    data, truth = inputs.sequences(params.geometry, device), truth_folder(root, params.corpus)
    evaluated = load_evaluated(root, params.geometry)
    found: dict[str, list[TrackPredictions]] = {}
    for seed in seeds:
        trained = {}
        for name, config in points.items():
            training = FusionTraining(
                config.model,
                data,
                inputs.validation,
                config.model_copy(update={"seed": seed}),
                params.geometry,
                inputs.feature_spec.stride,
                options=config.options,
                device=device,
                quiet=True,
            )
            trained[entry_name(name, seed)] = training.fit().model
        for split in splits:
            stride, mode = inputs.feature_spec.stride, params.train.inference
            entries = predict_tracks(evaluated[split], trained, params.geometry, stride, mode, root, truth)
            found[split] = [
                replace(new, predictions=old.predictions | new.predictions)
                for old, new in zip(found.get(split, entries), entries, strict=True)
            ]
    return {split: _summary(split, tracks, list(points), list(seeds), params) for split, tracks in found.items()}


def _summary(
    split: str, tracks: Sequence[TrackPredictions], names: Sequence[str], seeds: list[int], params: Params
) -> dict[str, Any]:
    if not any(track.valid.any() for track in tracks):
        raise BadInputError(f"the split {split} has no labels: choose another one")
    draw, resamples = params.evaluate.seed, params.evaluate.bootstrap
    models = {}
    for name in names:
        entries = [pooled_scores(tracks, entry_name(name, seed), resamples=100, seed=draw) for seed in seeds]
        models[name] = {f"ccc_{target}": seed_spread([entry[f"ccc_{target}"] for entry in entries]) for target in NAMES}
    first, second = names
    videos = len({track.video for track in tracks if track.valid.any()})
    return {
        "split": split,
        "seeds": seeds,
        "models": models,
        "differences": {f"{first} - {second}": seed_difference(tracks, first, second, seeds, resamples, draw)},
        "videos": videos,
        "note": NOTE if videos < FEW_VIDEOS else "",
    }


def main() -> None:
    """Print a table per split; also written to reports/sweep/confirmation.json."""
    parser = argparse.ArgumentParser(description="Compare the best point of the study with the paper's, on new seeds.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="others than train.seed")
    parser.add_argument("--storage", default=None, help="URL; default: the project's own")
    parser.add_argument("--splits", nargs="+", choices=("val", "test"), default=["val", "test"])
    arguments = parser.parse_args()
    try:
        root = workspace_root()
        params = load_params(root / "params.yaml", SECTIONS)
        points = study_points(params, arguments.storage or default_storage(project_root()))
        space = SearchSpace.of(params.sweep.space, params.train)
        for name, point in points.items():
            print(f"{name}: {point_text(point)}")
        configs = {name: space.train_config(point) for name, point in points.items()}
        results = compare_points(root, params, configs, arguments.seeds, arguments.splits)
        write_report(root / "reports" / "sweep" / "confirmation.json", {"points": points, **results})
    except AVFusionError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    for result in results.values():
        print(seed_table(result))


if __name__ == "__main__":
    main()
