"""Compare fusion models: train each with several seeds on the cached features, and score it, with a row per model.

The trainings are runs: a parent, and below it one per model and seed, with metrics only.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from avfusion.corpora.demo.truth import ORACLES, truth_folder
from avfusion.corpora.notes import as_sentence, corpus_notes
from avfusion.data.track_data import TrackData
from avfusion.experiments.ablation import ablated_predictions, attention_facts, control_config
from avfusion.experiments.chains import SECTIONS, Chain, make_chain, read_chain
from avfusion.experiments.evaluate import predict_tracks, with_model
from avfusion.experiments.grid import Grid, unlogged
from avfusion.experiments.start import refuse_models, refuse_start
from avfusion.experiments.training import config_of, model_names
from avfusion.experiments.training_store import FinishedTraining, TrainingUnit
from avfusion.fusion.base import FusionModel
from avfusion.fusion.catalogue import fusion_names, fusion_options, head_kind, takes_maps
from avfusion.fusion.complexity import complexity
from avfusion.fusion.neutral import gate_means
from avfusion.params.params import Params, load_params
from avfusion.params.record import every_param
from avfusion.reports.attention_gain import ABLATIONS, RETRAINED, ablated_name
from avfusion.reports.comparison_table import COSTS, SeedScores, comparison_rows, write_comparison
from avfusion.reports.plots.comparison import plot_comparison
from avfusion.runtime.atomic import exclusive_lock
from avfusion.runtime.devices import default_device
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.fingerprints import fingerprint
from avfusion.scoring.metrics import NAMES, pooled_scores
from avfusion.scoring.seeds import entry_name, seed_difference, seed_summary
from avfusion.scoring.track_predictions import TrackPredictions, with_predictions
from avfusion.tracking.run_book import RunBook
from avfusion.tracking.runs import TrackedRun
from avfusion.training.determinism import make_deterministic
from avfusion.training.logger import RunLogger
from avfusion.training.settings import TrainSettings

EVERY = "all"
CHOSEN_BY = {
    "validation": "These tracks chose the epochs, too, which raises their scores.",
    "inner": "A tenth of the training groups chose the epochs, and none of these tracks.",
}
STREAMS_ALONE = ("audio_only", "visual_only")
ModelSeed = tuple[str, int]


def run_comparison(
    root: Path,
    models: Sequence[str],
    seeds: Sequence[int],
    split: str,
    *,
    head: str | None = None,
    ablate: bool = False,
    whole: bool = False,
) -> str:
    """`avfusion compare`: train, score, and write reports/compare/; returns the table as Markdown.

    Args:
        models: none: `train.model` and `train.baselines`; `all`: every model that takes pooled features.
        head: the head of all models that have a choice of it; None: each has its own.
        ablate: also say what attention adds to each model; trains the controls.
        whole: each seed also trains its own backbones, and fusion models on their features.

    Raises:
        BadInputError: a model does not exist or has other heads, or params.yaml, features or labels are missing.
    """
    sections = ("common", "corpus", "evaluate", "geometry", "train", *(SECTIONS if whole else ()))
    params = load_params(root / "params.yaml", sections)
    refuse_start(params.train, "a comparison")
    make_deterministic(params.common.threads)
    pooled = [name for name in fusion_names() if not takes_maps(name)]
    models = pooled if list(models) == [EVERY] else list(models or model_names(params.train))
    work, folder = root / ".avfusion" / "compare", root / "reports" / "compare"
    with exclusive_lock(root / ".avfusion" / "locks" / "compare.lock", "avfusion compare"):
        device = default_device()
        own = read_chain(root, params, split, device)
        inputs = own.grid.inputs
        refuse_models(models, inputs.feature_spec.output)
        chains = dict.fromkeys(seeds, own)
        if whole:
            made = {seed: make_chain(root, params, seed, device) for seed in seeds}
            chains = {seed: read_chain(root, params, split, device, features=made[seed]) for seed in seeds}
        truth = truth_folder(root, params.corpus)
        comparison = Comparison(params, own.grid, own.tracks, truth, head, ablate, chains if whole else {})
        # A run is continued only if everything that its numbers depend on is the same.
        trainings = {entry_name(*key): unit.digest for key, unit in comparison.units(models, seeds).items()}
        shown = {name: section for name, section in params.to_dict().items() if name != "execution"}
        same = fingerprint(inputs=inputs.digests, params=shown, split=split, trainings=trainings)
        tags = {"corpus": params.corpus.name, "feature_spec": inputs.feature_spec.digest(), "split": split}
        seen = inputs.seen_data(params.corpus.name).on(split)
        tags |= {"stopping": inputs.stopping_split} | ({"whole": "true"} if whole else {})
        tags |= {"seen_data": seen.mark} if seen.mark else {}
        recorded = every_param(root / "params.yaml", params)
        label = "whole runs" if whole else ""
        book = RunBook(root, work / f"runs-{same[:16]}.json", recorded, tags, label=label)
        with book.open("comparison") as parent:

            def training(key: ModelSeed) -> AbstractContextManager[TrackedRun]:
                name, seed = key
                return book.open(entry_name(name, seed), parent, {"model": name, "seed": seed})

            rows, summary = comparison.run(models, seeds, training)
            notes = map(as_sentence, (*corpus_notes(params.corpus.name), *seen.notes))
            remarks = [*notes, *_remarks(params.train, models), *comparison.readings(models)]
            remarks += [CHOSEN_BY[inputs.stopping_split]] if split == "val" else []
            text = write_comparison(folder, rows, summary, params.corpus.name, remarks)
            plot_comparison(folder / "comparison.png", rows)
            for name in ("comparison.csv", "comparison.json", "comparison.md", "comparison.png"):
                parent.log_artifact(folder / name)
    return text


@dataclass(frozen=True)
class Comparison:
    """A comparison of models.

    Attributes:
        params: sections common, evaluate, geometry and train; `train.options` go to `train.model` alone.
        truth: folder of the tracks' truth, from `truth_folder`.
        head: of all models that have a choice of it; None: each has its own.
        ablate: the models' controls are trained, too, and all are scored under ablations.
        chains: by seed, what models of that seed are trained and scored on instead of `grid` and `tracks`.
    """

    params: Params
    grid: Grid
    tracks: Sequence[TrackData]
    truth: Path | None
    head: str | None = None
    ablate: bool = False
    chains: Mapping[int, Chain] = field(default_factory=dict)

    def chain(self, seed: int) -> Chain:
        """What models of a seed are trained and scored on."""
        return self.chains.get(seed) or Chain(self.grid, self.tracks)

    def units(self, models: Sequence[str], seeds: Sequence[int]) -> dict[ModelSeed, TrainingUnit]:
        """The trainings that are compared; with `ablate`, behind each model its control."""
        units: dict[ModelSeed, TrainingUnit] = {}
        for name in models:
            configs = [self.config(name, seed=seed) for seed in seeds]
            units |= {(name, seed): self.chain(seed).grid.unit(c) for seed, c in zip(seeds, configs, strict=True)}
            if self.ablate and (controls := [found for config in configs if (found := control_config(config))]):
                entry = ablated_name(name, RETRAINED)
                units |= {(entry, seed): self.chain(seed).grid.unit(c) for seed, c in zip(seeds, controls, strict=True)}
        return units

    def config(self, name: str, **values: Any) -> TrainSettings:
        """Section `train` for one model, with the head of the comparison.

        Raises:
            BadInputError: the model has no such head.
        """
        config = config_of(self.params.train, name, **values)
        if self.head is None or "head" not in fusion_options(name):
            return config
        if fault := fusion_options(name)["head"].fault(self.head):
            raise BadInputError(f"{name}: head is {self.head!r}: {fault}")
        return config.model_copy(update={"options": {**config.options, "head": self.head}})

    def run(
        self,
        models: Sequence[str],
        seeds: Sequence[int],
        open_run: Callable[[ModelSeed], AbstractContextManager[RunLogger]] = unlogged,
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Train and score all models, a printed line for each training.

        Args:
            open_run: gives the run that one training of a model with a seed is logged to, metrics only.

        Returns:
            A row per model in the order given, as of `comparison_rows`; and the scores by seed with the differences of
            the models to `train.model` (`seed_summary`; `better_stream` is the single stream with the higher mean).
            With `ablate` also `attention`: by model `neutral` and `control`, in words, and its `differences` from
            itself by ablation (`reports.attention_gain`).

        Raises:
            BadInputError: no frame of the tracks has a label.
        """
        params, stride = self.params, self.grid.inputs.feature_spec.stride
        tracks = predict_tracks(self.tracks, {}, params.geometry, stride, "overlap", self.grid.root, self.truth)
        if not any(track.valid.any() for track in tracks):
            raise BadInputError("no track to be scored has a label: choose another split")
        costs: dict[str, list[tuple[float | None, ...]]] = {name: [] for name in models}

        def use(key: ModelSeed, finished: FinishedTraining, run: RunLogger) -> str:
            nonlocal tracks
            name, entry = key[0], entry_name(*key)
            model = finished.model(self.grid.device)
            chain = self.chain(key[1])
            with gate_means(model, model.gate_maps if self.ablate else ()) as gates:
                tracks, rate = self._predict(tracks, entry, model, chain)
            if self.ablate and name in costs:
                for ablation, values in self._ablated(model, gates, chain).items():
                    tracks = with_predictions(tracks, entry_name(ablated_name(name, ablation), key[1]), values)
            scores = pooled_scores(tracks, entry)
            run.log_metrics({f"{tracks[0].split}/ccc_{target}": scores[f"ccc_{target}"] for target in NAMES})
            if name in costs:
                size = complexity(model)
                costs[name].append((size.parameters, size.multiply_adds, finished.seconds_per_epoch, rate))
            return f"{entry}: mean CCC {scores['ccc_mean']:.3f} on {tracks[0].split}"

        units = self.units(models, seeds)
        for grid in {id(grid): grid for grid in (self.chain(seed).grid for seed in seeds)}.values():
            grid.run({key: unit for key, unit in units.items() if self.chain(key[1]).grid is grid}, open_run, use)
        found = {name: SeedScores.of(tracks, [entry_name(name, seed) for seed in seeds]) for name in models}
        means = {name: dict(zip(COSTS, map(_mean, zip(*costs[name], strict=True)), strict=True)) for name in models}
        heads = {name: head_kind(name, self.config(name).options) for name in models}
        rows = comparison_rows(found, means, heads)
        summary = self._summary(tracks, models, seeds)
        return rows, summary | ({"attention": self._gains(tracks, models, seeds)} if self.ablate else {})

    def readings(self, models: Sequence[str]) -> list[str]:
        """A remark on what the models read, if some of them read windows of frames."""
        found = {name: self.grid.inputs.reading(self.config(name), self.params.geometry) for name in models}
        if all(reading.hop is None for reading in found.values()):
            return []
        return ["; ".join(f"{name} reads {reading.words}" for name, reading in found.items()) + "."]

    def _predict(
        self, tracks: Sequence[TrackPredictions], entry: str, model: FusionModel, chain: Chain
    ) -> tuple[list[TrackPredictions], float]:
        """The tracks with the model's predictions as `entry`, and milliseconds of fusion per minute of video."""
        params, stride = self.params, self.grid.inputs.feature_spec.stride
        started = time.perf_counter()
        found = with_model(tracks, chain.tracks, entry, model, params.geometry, stride, params.train.inference)
        seconds = time.perf_counter() - started
        return found, 1000 * seconds / (sum(float(track.time_s[-1]) for track in tracks) / 60)

    def _ablated(self, model: FusionModel, gates: Mapping[str, Tensor], chain: Chain) -> dict[str, list[np.ndarray]]:
        params, stride = self.params, self.grid.inputs.feature_spec.stride
        draw = params.evaluate.seed
        return ablated_predictions(
            model, gates, chain.tracks, params.geometry, stride, params.train.inference, draw=draw
        )

    def _gains(
        self, tracks: Sequence[TrackPredictions], models: Sequence[str], seeds: Sequence[int]
    ) -> dict[str, dict[str, Any]]:
        gains = {}
        for name in models:
            found = [
                kind for kind in ABLATIONS if entry_name(ablated_name(name, kind), seeds[0]) in tracks[0].predictions
            ]
            differences = {kind: seed_difference(tracks, name, ablated_name(name, kind), seeds) for kind in found}
            if differences:
                gains[name] = attention_facts(name, self.config(name).options) | {"differences": differences}
        return gains

    def _summary(
        self, tracks: Sequence[TrackPredictions], models: Sequence[str], seeds: Sequence[int]
    ) -> dict[str, Any]:
        main = self.params.train.model
        pairs = [(main, name) for name in models if name != main and main in models]
        if set(STREAMS_ALONE) <= set(models):
            pairs.append(("visual_only", "audio_only"))
        oracles = [name for name in ORACLES if name in tracks[0].predictions]
        summary = seed_summary(tracks, models, seeds, pairs, oracles) | {"whole": bool(self.chains)}
        alone = [name for name in STREAMS_ALONE if name in models]
        better = max(alone, key=lambda name: float(summary["models"][name]["ccc_mean"]["mean"]), default=None)
        return summary | {"better_stream": better}


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean of the known values."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _remarks(config: TrainSettings, models: Sequence[str]) -> list[str]:
    """Remarks on unfairness: options that only one model has from params.yaml."""
    if not config.options or config.model not in models:
        return []
    options = ", ".join(f"{name}: {value}" for name, value in config.options.items())
    return [f"{config.model} has train.options ({options}); the others have their defaults."]
