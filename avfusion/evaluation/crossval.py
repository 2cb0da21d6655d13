"""Grouped cross-validation of the fusion models on cached features, over base videos; fold 0 is the official split.

python -m avfusion.evaluation.crossval --folds 6

The backbones stay those of the official split, so the features of the folds beyond the first come from networks that
saw their validation videos: those folds compare fusion models with each other, and only fold 0 and the test split say
how good they are on videos that nothing has seen.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from avfusion.config import Params, load_params
from avfusion.corpora.table import read_tracks
from avfusion.data.track_data import TrackData, load_split
from avfusion.errors import AVFusionError, BadInputError
from avfusion.evaluation.ccc import ccc
from avfusion.evaluation.evaluate import predict_tracks
from avfusion.evaluation.metrics import pooled_scores, valid_pairs
from avfusion.evaluation.oracle import truth_folder
from avfusion.evaluation.report import rounded, write_report
from avfusion.evaluation.track_predictions import TrackPredictions
from avfusion.fusion.base import FusionModel
from avfusion.project import project_root
from avfusion.training.determinism import default_device, make_deterministic
from avfusion.training.experiment import model_names
from avfusion.training.loop import FusionTraining
from avfusion.training.sequences import sequence_data
from avfusion.training.start import refuse_start

WINDOWS = (1, 5, 10, 20, 35, 50, 75, 100)
SECTIONS = ("common", "corpus", "evaluate", "features", "geometry", "train")


@dataclass(frozen=True)
class Fold:
    """Tracks to train on, and those to score."""

    train: list[TrackData]
    validation: list[TrackData]


def grouped_folds(train: Sequence[TrackData], validation: Sequence[TrackData], folds: int) -> list[Fold]:
    """The official split, then the training videos in `folds` - 1 parts, each scored by what the other tracks train.

    Raises:
        BadInputError: fewer than two folds, or too few training videos for them.
        AVFusionError: the official split has a base video on both sides.
    """
    from sklearn.model_selection import GroupKFold

    videos = [track.video for track in train]
    if folds < 2 or (folds > 2 and len(set(videos)) < folds - 1):
        raise BadInputError(
            f"folds is {folds}: allowed are 2 to {len(set(videos)) + 1}, a training video for each part"
        )
    found = [Fold(list(train), list(validation))]
    # Two folds: the official split both ways round.
    parts = GroupKFold(folds - 1).split(videos, groups=videos) if folds > 2 else [([], range(len(train)))]
    for rest, held in parts:
        found.append(Fold([train[i] for i in rest] + list(validation), [train[i] for i in held]))
    for number, fold in enumerate(found):
        refuse_leakage(fold, f"fold {number}")
    return found


def refuse_leakage(fold: Fold, name: str) -> None:
    """Refuse a base video on both sides.

    Raises:
        AVFusionError: names the videos.
    """
    shared = {track.video for track in fold.train} & {track.video for track in fold.validation}
    if shared:
        raise AVFusionError(f"{name}: trained and scored on the same videos: {', '.join(sorted(shared))}")


def choose_windows(
    tracks: Sequence[TrackPredictions], model: str, candidates: Sequence[int] = WINDOWS
) -> tuple[int, int]:
    """Windows of the smoothing (valence, arousal) with the highest pooled CCC; of equal ones the shortest.

    To be given predictions of tracks that the model was not trained on, and none of those that are scored with the
    windows: out-of-fold predictions of the training tracks.
    """
    best = []
    for c in range(2):
        scores = []
        for window in sorted(candidates):
            predictions, labels, _ = valid_pairs(tracks, model, (window, window))
            scores.append(ccc(predictions[:, c], labels[:, c]))
        best.append(sorted(candidates)[int(np.argmax(scores))])
    return best[0], best[1]


def cross_validate(
    root: Path, params: Params, *, folds: int = 6, models: Sequence[str] | None = None
) -> dict[str, Any]:
    """Train every model on every fold and score it; nothing is written and nothing logged.

    Returns:
        `models`: by name `folds` (pooled mean CCC of each fold's validation tracks), `mean`, `sd`, `out_of_fold` (all
        those tracks pooled), `windows` (smoothing chosen on the training folds, which are all but the official one),
        `val` (fold 0, with the scores under these windows as `smoothed`), `test` (predictions averaged over the folds'
        models, likewise); `videos`: how many each fold trains and scores.
    """
    refuse_start(params.train, "cross-validation")
    make_deterministic(params.common.threads)
    table = read_tracks(root / "data" / "corpus" / "tracks.parquet")
    splits = {split: load_split(root, table, split, params.geometry) for split in ("train", "val", "test")}
    parts = grouped_folds(splits["train"], splits["val"], folds)
    names = list(models or model_names(params.train))
    scored: list[list[TrackPredictions]] = []
    tested: list[list[TrackPredictions]] = []
    for fold in parts:
        trained = {name: _train(fold, name, params) for name in names}
        scored.append(_predict(fold.validation, trained, root, params))
        tested.append(_predict(splits["test"], trained, root, params))
    averaged = [_average(entries, names) for entries in zip(*tested, strict=True)]
    draws = {"resamples": params.evaluate.bootstrap, "seed": params.evaluate.seed}
    return {
        "models": {name: _summary(scored, averaged, name, draws) for name in names},
        "videos": [
            {side: len({track.video for track in getattr(fold, side)}) for side in ("train", "validation")}
            for fold in parts
        ],
        "note": "the backbones are those of fold 0, and were trained on the other folds' validation videos",
    }


def _train(fold: Fold, name: str, params: Params) -> FusionModel:
    config, geometry, device = params.train, params.geometry, default_device()
    stride = params.features.stride
    data = sequence_data(
        fold.train, stride=stride, length=geometry.sequence_clips, clip_frames=geometry.clip_frames, device=device
    )
    options = config.options if name == config.model else {}
    training = FusionTraining(
        name, data, fold.validation, config, geometry, stride, options=options, device=device, quiet=True
    )
    return training.fit().model


def _predict(
    tracks: Sequence[TrackData], models: dict[str, FusionModel], root: Path, params: Params
) -> list[TrackPredictions]:
    truth = truth_folder(root, params.corpus)
    stride, mode = params.features.stride, params.train.inference
    return predict_tracks(tracks, models, params.geometry, stride, mode, root, truth)


def _average(entries: Sequence[TrackPredictions], names: Sequence[str]) -> TrackPredictions:
    """One test track with the mean of the folds' predictions."""
    stacks = {name: np.stack([entry.predictions[name] for entry in entries]) for name in names}
    return replace(entries[0], predictions={name: stack.mean(axis=0) for name, stack in stacks.items()})


def _summary(
    scored: Sequence[Sequence[TrackPredictions]], test: Sequence[TrackPredictions], name: str, draws: dict[str, int]
) -> dict[str, Any]:
    def score(tracks: Sequence[TrackPredictions], windows: tuple[int, int] | None = None) -> dict[str, Any]:
        return pooled_scores(tracks, name, resamples=draws["resamples"], seed=draws["seed"], windows=windows)

    means = [score(tracks)["ccc_mean"] for tracks in scored]
    windows = choose_windows([track for fold in scored[1:] for track in fold], name)
    return {
        "folds": means,
        "mean": float(np.mean(means)),
        "sd": float(np.std(means, ddof=1)),
        "out_of_fold": score([track for fold in scored for track in fold]),
        "windows": list(windows),
        "val": score(scored[0]) | {"smoothed": score(scored[0], windows)},
        "test": score(test) | {"smoothed": score(test, windows)},
    }


def main() -> None:
    """Print the result as JSON, or write it."""
    parser = argparse.ArgumentParser(description="Grouped cross-validation of the fusion models.")
    parser.add_argument("--folds", type=int, default=6)
    parser.add_argument("--models", nargs="+", default=None, help="default: train.model and train.baselines")
    parser.add_argument("--json", type=Path, default=None, help="file for the numbers")
    arguments = parser.parse_args()
    try:
        root = project_root()
        params = load_params(root / "params.yaml", SECTIONS)
        result = cross_validate(root, params, folds=arguments.folds, models=arguments.models)
    except AVFusionError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    if arguments.json:
        write_report(arguments.json, result)
    print(json.dumps(rounded(result), indent=2))


if __name__ == "__main__":
    main()
