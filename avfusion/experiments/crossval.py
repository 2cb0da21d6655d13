"""Cross-validation of fusion models on cached features: each trained on every fold, scored on what it did not see.

Backbones are not trained per fold. docs/evaluation.md says what the features of a fold's scored videos have seen.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from avfusion.data.track_data import TrackData
from avfusion.experiments.evaluate import predict_tracks
from avfusion.experiments.folds import Fold, grouped_folds
from avfusion.experiments.training import TrainingInputs, config_of, training_fingerprint
from avfusion.fusion.base import FusionModel
from avfusion.fusion.track_inference import predict_track
from avfusion.params.params import Params
from avfusion.reports.crossval_table import CrossValidated
from avfusion.runtime.fingerprints import fingerprint
from avfusion.runtime.progress import TrainingLines
from avfusion.scoring.ccc import ccc
from avfusion.scoring.metrics import NAMES, pooled_scores, valid_pairs
from avfusion.scoring.seeds import seed_spread
from avfusion.scoring.track_predictions import TrackPredictions
from avfusion.training.logger import RunLogger
from avfusion.training.loop import FusionTraining, TrainedFusion
from avfusion.training.sequences import SequenceData

WINDOWS = (1, 5, 10, 20, 35, 50, 75, 100)
OpenRun = Callable[[str, int], AbstractContextManager[RunLogger]]


@dataclass(frozen=True)
class CrossValidation:
    """What is cross-validated, on what.

    Attributes:
        params: sections common, evaluate, geometry and train; `train.options` go to `train.model` alone.
        inputs: features and labels of the official training and validation tracks.
        test: the test tracks.
        root: the project, below which features and frame times lie.
        truth: folder of the truth of the tracks, as `truth_folder` gives it.
        work: where checkpoints are kept, one folder per model and fold: what was trained is not trained again.
        device: torch's name of it.
    """

    params: Params
    inputs: TrainingInputs
    test: Sequence[TrackData]
    root: Path
    truth: Path | None
    work: Path
    device: str = "cpu"

    def run(self, models: Sequence[str], folds: int, open_run: OpenRun) -> CrossValidated:
        """Train and score all models on all folds, a printed line for each training.

        Args:
            folds: how many, the official split included.
            open_run: gives the run that the training of a model on a fold is logged to, metrics only.

        Raises:
            BadInputError: see `grouped_folds`.
            AVFusionError: likewise.
        """
        parts = grouped_folds(self.inputs.train, self.inputs.validation, folds)
        scored = [self._not_predicted(fold.validation) for fold in parts]
        tested = [self._not_predicted(self.test) for _ in parts]
        rows: list[dict[str, Any]] = []
        lines = TrainingLines(len(models) * folds)
        for number, fold in enumerate(parts):
            data = replace(self.inputs, train=fold.train).sequences(self.params.geometry, self.device)
            for name in models:
                with open_run(name, number) as run:
                    trained = self._train(name, number, fold, data, run)
                    scored[number] = self._predict(scored[number], fold.validation, name, trained.model)
                    tested[number] = self._predict(tested[number], self.test, name, trained.model)
                    scores = self._scores(scored[number], name)
                    run.log_metrics({f"fold/ccc_{target}": scores[f"ccc_{target}"] for target in NAMES})
                videos = [len({track.video for track in side}) for side in (fold.train, fold.validation)]
                row = {"model": name, "fold": number, "train_videos": videos[0], "scored_videos": videos[1]}
                rows.append(row | {"best_epoch": trained.best_epoch} | scores)
                shown = "no labels" if scores["ccc_mean"] is None else f"mean CCC {scores['ccc_mean']:.3f}"
                lines.print(f"{name}, fold {number}: {shown} on {videos[1]} videos")
        test = [_averaged(entries, models) for entries in zip(*tested, strict=True)]
        return CrossValidated(rows, [self._summary(name, rows, scored, test) for name in models], test)

    def _not_predicted(self, tracks: Sequence[TrackData]) -> list[TrackPredictions]:
        stride = self.inputs.feature_spec.stride
        mode = self.params.train.inference
        return predict_tracks(tracks, {}, self.params.geometry, stride, mode, self.root, self.truth)

    def _train(self, name: str, number: int, fold: Fold, data: SequenceData, run: RunLogger) -> TrainedFusion:
        config = config_of(self.params.train, name)
        threads = self.params.common.threads
        digest = fingerprint(
            training=training_fingerprint(self.inputs, config, self.params.geometry, threads, self.device),
            train=[track.track for track in fold.train],
            validation=[track.track for track in fold.validation],
        )
        return FusionTraining(
            name,
            data,
            fold.validation,
            config,
            self.params.geometry,
            self.inputs.feature_spec.stride,
            options=config.options,
            folder=self.work / f"{name}-fold-{number}-{digest[:16]}",
            fingerprint=digest,
            device=self.device,
            quiet=True,
        ).fit(run)

    def _predict(
        self, entries: Sequence[TrackPredictions], tracks: Sequence[TrackData], name: str, model: FusionModel
    ) -> list[TrackPredictions]:
        stride, mode = self.inputs.feature_spec.stride, self.params.train.inference
        return [
            replace(
                entry,
                predictions=entry.predictions | {name: predict_track(model, track, self.params.geometry, stride, mode)},
            )
            for entry, track in zip(entries, tracks, strict=True)
        ]

    def _scores(
        self, tracks: Sequence[TrackPredictions], name: str, windows: tuple[int, int] | None = None, prefix: str = ""
    ) -> dict[str, Any]:
        config = self.params.evaluate
        entry = pooled_scores(tracks, name, resamples=config.bootstrap, seed=config.seed, windows=windows)
        found: dict[str, float | None] = {}
        for target in NAMES:
            low, high = entry[f"ci95_{target}"] or (None, None)
            found |= {f"{prefix}ccc_{target}": entry[f"ccc_{target}"]}
            found |= {f"{prefix}low_{target}": low, f"{prefix}high_{target}": high}
        return found

    def _summary(
        self,
        name: str,
        rows: Sequence[dict[str, Any]],
        scored: Sequence[Sequence[TrackPredictions]],
        test: Sequence[TrackPredictions],
    ) -> dict[str, Any]:
        spread = seed_spread([row["ccc_mean"] for row in rows if row["model"] == name and row["ccc_mean"] is not None])
        windows = choose_windows([track for fold in scored[1:] for track in fold], name)
        row: dict[str, Any] = {"model": name, "folds": len(scored), "mean": spread["mean"], "sd": spread["sd"]}
        row |= {"window_valence": windows[0], "window_arousal": windows[1]}
        row |= self._scores([track for fold in scored for track in fold], name, prefix="out_of_fold_")
        for split, tracks in (("val", scored[0]), ("test", test)):
            row |= self._scores(tracks, name, prefix=f"{split}_")
            row |= self._scores(tracks, name, windows, prefix=f"{split}_smoothed_")
        return row


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


def _averaged(entries: Sequence[TrackPredictions], names: Sequence[str]) -> TrackPredictions:
    """One test track with the mean of the folds' predictions."""
    stacks = {name: np.stack([entry.predictions[name] for entry in entries]) for name in names}
    return replace(entries[0], predictions={name: stack.mean(axis=0) for name, stack in stacks.items()})
