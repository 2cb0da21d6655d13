"""Fusion models against each other: each trained with several seeds on the cached features, scored, one row a model."""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from avfusion.data.track_data import TrackData
from avfusion.experiments.evaluate import predict_tracks
from avfusion.experiments.training import TrainingInputs, config_of, training_fingerprint
from avfusion.fusion.base import FusionModel
from avfusion.fusion.complexity import complexity
from avfusion.fusion.track_inference import predict_track
from avfusion.params.params import Params
from avfusion.reports.comparison_table import COSTS, SeedScores, comparison_rows
from avfusion.runtime.atomic import write_json
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.progress import TrainingLines
from avfusion.scoring.metrics import NAMES, pooled_scores
from avfusion.scoring.seeds import entry_name
from avfusion.scoring.track_predictions import TrackPredictions
from avfusion.training.checkpoints import load_checkpoint
from avfusion.training.logger import RunLogger
from avfusion.training.loop import FusionTraining

OpenRun = Callable[[str, int], AbstractContextManager[RunLogger]]


@dataclass(frozen=True)
class Comparison:
    """What is compared, on what.

    Attributes:
        params: sections common, evaluate, geometry and train; `train.options` go to `train.model` alone.
        inputs: features and labels for training.
        tracks: what is scored.
        root: the project, below which features and frame times lie.
        truth: folder of the truth of the tracks, as `truth_folder` gives it.
        work: where checkpoints are kept, one folder per model and seed: a comparison goes on where it stopped, and a
            larger one trains only what is new.
        device: torch's name of it.
    """

    params: Params
    inputs: TrainingInputs
    tracks: Sequence[TrackData]
    root: Path
    truth: Path | None
    work: Path
    device: str = "cpu"

    def run(self, models: Sequence[str], seeds: Sequence[int], open_run: OpenRun) -> list[dict[str, Any]]:
        """Train and score all models, a printed line for each training; a row per model in the order given.

        The rows are those of `comparison_rows`.

        Args:
            open_run: gives the run that one training of a model with a seed is logged to, metrics only.

        Raises:
            BadInputError: no frame of the tracks has a label.
        """
        params, stride = self.params, self.inputs.feature_spec.stride
        tracks = predict_tracks(self.tracks, {}, params.geometry, stride, "overlap", self.root, self.truth)
        if not any(track.valid.any() for track in tracks):
            raise BadInputError("no track to be scored has a label: choose another split")
        data = self.inputs.sequences(params.geometry, self.device)
        costs: dict[str, list[tuple[float, ...]]] = {name: [] for name in models}
        lines = TrainingLines(len(models) * len(seeds))
        for name in models:
            for seed in seeds:
                entry = entry_name(name, seed)
                with open_run(name, seed) as run:
                    model, seconds = self._train(name, seed, data, run)
                    tracks, rate = self._predict(tracks, entry, model)
                    scores = pooled_scores(tracks, entry, resamples=100, seed=0)
                    run.log_metrics({f"{tracks[0].split}/ccc_{target}": scores[f"ccc_{target}"] for target in NAMES})
                lines.print(f"{name}, seed {seed}: mean CCC {scores['ccc_mean']:.3f} on {tracks[0].split}")
                size = complexity(model)
                costs[name].append((size.parameters, size.multiply_adds, seconds, rate))
        found = {name: SeedScores.of(tracks, [entry_name(name, seed) for seed in seeds]) for name in models}
        means = {name: dict(zip(COSTS, np.mean(costs[name], axis=0).tolist(), strict=True)) for name in models}
        return comparison_rows(found, means, params.evaluate.bootstrap, params.evaluate.seed)

    def _train(self, name: str, seed: int, data: Any, run: RunLogger) -> tuple[FusionModel, float]:
        """The trained model, and wall seconds per epoch, validation included."""
        config = config_of(self.params.train, name, seed=seed)
        threads = self.params.common.threads
        digest = training_fingerprint(self.inputs, config, self.params.geometry, threads, self.device)
        folder = self.work / f"{name}-{seed}-{digest[:16]}"
        training = FusionTraining(
            name,
            data,
            self.inputs.validation,
            config,
            self.params.geometry,
            self.inputs.feature_spec.stride,
            options=config.options,
            folder=folder,
            fingerprint=digest,
            device=self.device,
            quiet=True,
        )
        clock = folder / "clock.json"  # of all epochs that were trained to the end, over interruptions
        known = json.loads(clock.read_text(encoding="utf-8")) if clock.is_file() else {"epochs": 0, "seconds": 0.0}
        saved = load_checkpoint(folder, digest) or {"epoch": 0}
        started = time.perf_counter()
        result = training.fit(run)
        epochs = len(result.history) - saved["epoch"]
        if epochs:
            known = {"epochs": known["epochs"] + epochs, "seconds": known["seconds"] + time.perf_counter() - started}
            write_json(clock, known)
        return result.model, known["seconds"] / known["epochs"] if known["epochs"] else float("nan")

    def _predict(
        self, tracks: Sequence[TrackPredictions], entry: str, model: FusionModel
    ) -> tuple[list[TrackPredictions], float]:
        """The tracks with the model's predictions as `entry`, and milliseconds of fusion per minute of video."""
        params, stride = self.params, self.inputs.feature_spec.stride
        started = time.perf_counter()
        values = [predict_track(model, t, params.geometry, stride, params.train.inference) for t in self.tracks]
        seconds = time.perf_counter() - started
        found = [
            replace(track, predictions=track.predictions | {entry: value})
            for track, value in zip(tracks, values, strict=True)
        ]
        return found, 1000 * seconds / (sum(float(track.time_s[-1]) for track in tracks) / 60)
