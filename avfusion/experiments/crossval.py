"""Cross-validate fusion models on cached features: train each on every fold, and score it on unseen tracks.

The trainings are runs: a parent, and below it one per model and fold, with metrics only. Backbones are not trained per
fold. docs/evaluation.md says what the features of a fold's scored videos have seen.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from avfusion.corpora.demo.truth import truth_folder
from avfusion.corpora.notes import as_sentence, corpus_notes
from avfusion.data.features import read_features
from avfusion.data.track_data import TrackData, feature_path
from avfusion.experiments.evaluate import load_evaluated, predict_tracks, with_model
from avfusion.experiments.folds import Fold, grouped_folds, shared_groups
from avfusion.experiments.grid import Grid, unlogged
from avfusion.experiments.start import refuse_models, refuse_start
from avfusion.experiments.stopping import part
from avfusion.experiments.training import config_of, model_names, read_inputs
from avfusion.experiments.training_store import FinishedTraining, TrainingUnit
from avfusion.fusion.base import FusionModel
from avfusion.fusion.catalogue import head_kind
from avfusion.params.params import Params, load_params
from avfusion.params.record import every_param
from avfusion.reports.crossval_table import CrossValidated, write_cross_validation
from avfusion.runtime.atomic import exclusive_lock
from avfusion.runtime.devices import default_device
from avfusion.runtime.fingerprints import fingerprint
from avfusion.scoring.ccc import ccc
from avfusion.scoring.metrics import NAMES, pooled_scores, valid_pairs
from avfusion.scoring.seeds import seed_spread
from avfusion.scoring.track_predictions import TARGETS, TrackPredictions
from avfusion.tracking.run_book import RunBook
from avfusion.tracking.runs import TrackedRun
from avfusion.training.determinism import make_deterministic
from avfusion.training.logger import RunLogger

WINDOWS_S = (0.0, 0.167, 0.333, 0.667, 1.167, 1.667, 2.5, 3.333)
FoldModel = tuple[int, str]


def run_cross_validation(root: Path, models: Sequence[str], folds: int) -> str:
    """`avfusion crossval`: train, score, and write reports/crossval/; returns its tables as Markdown.

    Args:
        models: none: `train.model` and `train.baselines`.

    Raises:
        BadInputError: a model does not exist, there are too few videos for the folds, or params.yaml, features or
            labels are missing.
    """
    params = load_params(root / "params.yaml", ("common", "corpus", "evaluate", "geometry", "train"))
    refuse_start(params.train, "cross-validation")
    make_deterministic(params.common.threads)
    names = list(models or model_names(params.train))
    work, folder = root / ".avfusion" / "crossval", root / "reports" / "crossval"
    with exclusive_lock(root / ".avfusion" / "locks" / "crossval.lock", "avfusion crossval"):
        inputs, tests = (
            read_inputs(root, params.geometry, stopping=params.train.stopping),
            load_evaluated(root, params.geometry)["test"],
        )
        refuse_models(names, inputs.feature_spec.output)
        truth = truth_folder(root, params.corpus)
        grid = Grid(root, inputs, params.geometry, params.common.threads, default_device())
        crossval = CrossValidation(params, grid, tests, truth)
        out_of_fold = read_features(feature_path(root, inputs.train[0].track)).out_of_fold is not None
        # A run is continued only if everything that its numbers depend on is the same.
        trainings = [[*key, unit.digest] for key, unit in crossval.units(names, crossval.parts(folds)).items()]
        same = fingerprint(inputs=inputs.digests, params=params.to_dict(), folds=folds, trainings=trainings)
        tags = {"corpus": params.corpus.name, "feature_spec": inputs.feature_spec.digest(), "folds": str(folds)}
        seen = inputs.seen_data(params.corpus.name)
        tags |= {"stopping": inputs.stopping_split} | ({"seen_data": seen.mark} if seen.mark else {})
        book = RunBook(root, work / f"runs-{same[:16]}.json", every_param(root / "params.yaml", params), tags)
        with book.open("cross-validation") as parent:

            def training(key: FoldModel) -> AbstractContextManager[TrackedRun]:
                fold, name = key
                return book.open(f"{name}, fold {fold}", parent, {"model": name, "fold": fold})

            found = crossval.run(names, folds, training)
            notes = map(as_sentence, (*corpus_notes(params.corpus.name), *seen.notes))
            text = write_cross_validation(folder, found, out_of_fold=out_of_fold, remarks=list(notes))
            for name in ("folds.csv", "models.csv", "crossval.md"):
                parent.log_artifact(folder / name)
    return text


@dataclass(frozen=True)
class CrossValidation:
    """A cross-validation of models.

    Attributes:
        params: sections common, evaluate, geometry and train; `train.options` go to `train.model` alone.
        grid: trains the models, on the official training and validation tracks.
        truth: folder of the tracks' truth, from `truth_folder`.
    """

    params: Params
    grid: Grid
    test: Sequence[TrackData]
    truth: Path | None

    def parts(self, folds: int) -> list[Fold]:
        """The official split and the other folds; raises as `grouped_folds`."""
        inputs = self.grid.inputs
        return grouped_folds([*inputs.train, *(inputs.inner or ())], inputs.validation, folds)

    def trained(self, fold: Fold) -> Fold:
        """Tracks of a fold that a training learns from, and those that stop it.

        With an inner split these are training groups of the fold, and the tracks that are scored are not read.
        """
        return fold if self.grid.inputs.inner is None else Fold(*part(fold.train))

    def units(self, models: Sequence[str], parts: Sequence[Fold]) -> dict[FoldModel, TrainingUnit]:
        """The trainings of all models on all folds."""
        return {
            (number, name): self.grid.unit(config_of(self.params.train, name), self.trained(fold))
            for number, fold in enumerate(parts)
            for name in models
        }

    def run(
        self,
        models: Sequence[str],
        folds: int,
        open_run: Callable[[FoldModel], AbstractContextManager[RunLogger]] = unlogged,
    ) -> CrossValidated:
        """Train and score all models on all folds, a printed line for each training.

        Args:
            folds: number of folds, including the official split.
            open_run: gives the run that the training of a model on a fold is logged to, metrics only.
        """
        parts = self.parts(folds)
        scored = [self._not_predicted(fold.validation) for fold in parts]
        tested = [self._not_predicted(self.test) for _ in parts]
        rows: list[dict[str, Any]] = []

        def use(key: FoldModel, finished: FinishedTraining, run: RunLogger) -> str:
            number, name = key
            fold, model = parts[number], finished.model(self.grid.device)
            scored[number] = self._predict(scored[number], fold.validation, name, model)
            tested[number] = self._predict(tested[number], self.test, name, model)
            scores = self._scores(scored[number], name)
            run.log_metrics({f"fold/ccc_{target}": scores[f"ccc_{target}"] for target in NAMES})
            row = {"model": name, "fold": number}
            for side, tracks in (("train", fold.train), ("scored", fold.validation)):
                row |= {f"{side}_videos": len({track.video for track in tracks})}
                row |= {f"{side}_groups": len({track.group for track in tracks})}
            rows.append(row | {"best_epoch": finished.best_epoch} | scores)
            shown = "no labels" if scores["ccc_mean"] is None else f"mean CCC {scores['ccc_mean']:.3f}"
            return f"{name}, fold {number}: {shown} on {row['scored_videos']} videos"

        self.grid.run(self.units(models, parts), open_run, use)
        test = [_averaged(entries, models) for entries in zip(*tested, strict=True)]
        models_rows = [self._summary(name, rows, scored, test) for name in models]
        return CrossValidated(rows, models_rows, test, shared_groups(parts[0]), self.grid.inputs.stopping_split)

    def _not_predicted(self, tracks: Sequence[TrackData]) -> list[TrackPredictions]:
        stride = self.grid.inputs.feature_spec.stride
        mode = self.params.train.inference
        return predict_tracks(tracks, {}, self.params.geometry, stride, mode, self.grid.root, self.truth)

    def _predict(
        self, entries: Sequence[TrackPredictions], tracks: Sequence[TrackData], name: str, model: FusionModel
    ) -> list[TrackPredictions]:
        stride, mode = self.grid.inputs.feature_spec.stride, self.params.train.inference
        return with_model(entries, tracks, name, model, self.params.geometry, stride, mode)

    def _scores(
        self,
        tracks: Sequence[TrackPredictions],
        name: str,
        windows_s: tuple[float, float] | None = None,
        prefix: str = "",
    ) -> dict[str, Any]:
        entry = pooled_scores(tracks, name, windows_s=windows_s)
        found: dict[str, float | None] = {f"{prefix}effective_videos": entry["effective_videos"]}
        for target in NAMES:
            low, high = entry[f"ci95_{target}"] or (None, None)
            found |= {f"{prefix}ccc_{target}": entry[f"ccc_{target}"]}
            found |= {f"{prefix}low_{target}": low, f"{prefix}high_{target}": high}
        for key in (f"{kind}_{target}" for target in TARGETS for kind in ("slope", "offset")):
            found |= {f"{prefix}{key}": entry[key]}
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
        head = head_kind(name, config_of(self.params.train, name).options)
        row: dict[str, Any] = {
            "model": name,
            "head": head,
            "folds": len(scored),
            "mean": spread["mean"],
            "sd": spread["sd"],
        }
        row |= {"window_valence_s": windows[0], "window_arousal_s": windows[1]}
        row |= self._scores([track for fold in scored for track in fold], name, prefix="out_of_fold_")
        for split, tracks in (("val", scored[0]), ("test", test)):
            row |= self._scores(tracks, name, prefix=f"{split}_")
            row |= self._scores(tracks, name, windows, prefix=f"{split}_smoothed_")
        return row


def choose_windows(tracks: Sequence[TrackPredictions], model: str) -> tuple[float, float]:
    """Windows of the smoothing (valence, arousal; seconds) with the highest pooled CCC; the shortest among equals.

    `tracks` must hold out-of-fold predictions of training tracks: predictions by models that were not trained on them,
    and no tracks that are scored with these windows.
    """
    best = []
    for c in range(2):
        scores = []
        for window in WINDOWS_S:
            predictions, labels, _ = valid_pairs(tracks, model, (window, window))
            scores.append(ccc(predictions[:, c], labels[:, c]))
        best.append(WINDOWS_S[int(np.argmax(scores))])
    return best[0], best[1]


def _averaged(entries: Sequence[TrackPredictions], names: Sequence[str]) -> TrackPredictions:
    """One test track with the mean of the folds' predictions."""
    stacks = {name: np.stack([entry.predictions[name] for entry in entries]) for name in names}
    return replace(entries[0], predictions={name: stack.mean(axis=0) for name, stack in stacks.items()})
