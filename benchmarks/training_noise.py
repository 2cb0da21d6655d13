"""By how much does the seed move a score, and which recipe of training makes that less?

    python benchmarks/training_noise.py --project DEMO --work FOLDER            # about an hour of one core
    python benchmarks/training_noise.py --project DEMO --work FOLDER --check    # do recipes trained alone agree?

A recipe says when training stops, which epoch is kept, and whether its weights are averaged. None of that changes the
course of the weights, so one training per model and seed serves all recipes: after every epoch the weights and their
averages are validated, and each recipe keeps what it would have kept alone (`--check` trains it alone). A second course
draws the places of clips in their sequences anew each epoch. What was kept is then scored on the test tracks. DEMO is
a project whose demo corpus went through the stage `features`; nothing is written into it. FOLDER keeps the rows of
every finished training, so an interrupted run goes on; noise.csv has all rows, noise.md the tables.
"""

import argparse
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import stdtrit
from torch.optim.swa_utils import AveragedModel

from avfusion.corpora.demo.truth import read_truth, truth_folder
from avfusion.data.settings import GeometrySettings
from avfusion.data.track_data import TrackData
from avfusion.experiments.evaluate import load_evaluated
from avfusion.experiments.training import read_inputs
from avfusion.fusion.base import FusionModel
from avfusion.params.params import load_params
from avfusion.reports.report import write_csv
from avfusion.runtime.atomic import write_json, write_text
from avfusion.training.averaging import renew_statistics, weight_average
from avfusion.training.determinism import make_deterministic
from avfusion.training.loop import FusionTraining, split_scores
from avfusion.training.schedule import SmoothedScore
from avfusion.training.settings import TrainSettings

MODELS = ("jca", "concat", "temporal_concat", "visual_only")
SEEDS = (0, 1, 2, 3, 4, 5)
LONGER = {"epochs": 100, "patience": 30}
SMOOTHED = {"score_smoothing": 0.8}
RECIPES: dict[str, dict[str, Any]] = {
    "as it is": {},
    "patience 50": {"patience": 50},
    "longer": LONGER,
    "smoothed": SMOOTHED,
    "averaged .98": {"weight_averaging": 0.98},
    "averaged .99": {"weight_averaging": 0.99},
    "longer, smoothed": LONGER | SMOOTHED,
    "longer, averaged .98": LONGER | {"weight_averaging": 0.98},
    "longer, averaged .99": LONGER | {"weight_averaging": 0.99},
    "longer, smoothed, averaged .98": LONGER | SMOOTHED | {"weight_averaging": 0.98},
    "longer, smoothed, averaged .99": LONGER | SMOOTHED | {"weight_averaging": 0.99},
}
"""Keys of `train` that differ from the demo's."""
REFERENCE = "as it is"
COURSES: dict[str, dict[str, Any]] = {"": {}, "random offsets": {"sequence_offsets": "random"}}
"""Keys of `train` that change the course of the weights; each course has all recipes."""
DECAYS = sorted({changes.get("weight_averaging", 0.0) for changes in RECIPES.values()})


def named_recipes(course: str) -> dict[str, dict[str, Any]]:
    """The recipes of a course, under names that tell both."""
    if not course:
        return RECIPES
    names = {name: course if name == REFERENCE else f"{course}, {name}" for name in RECIPES}
    return {names[name]: changes | COURSES[course] for name, changes in RECIPES.items()}


@dataclass
class Follower:
    """What a recipe keeps of a course of weights; as `FusionTraining.fit` does."""

    config: TrainSettings
    best_epoch: int = 0
    best_score: float = -float("inf")
    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    epochs: int = 0

    def __post_init__(self) -> None:
        self.smoothed = SmoothedScore(self.config.score_smoothing)

    @property
    def ended(self) -> bool:
        return self.epochs >= self.config.epochs or self.epochs - self.best_epoch >= self.config.patience

    def step(self, scores: Mapping[float, float], models: Mapping[float, FusionModel]) -> None:
        """End an epoch; scores and models by decay, 0: the weights themselves."""
        if self.ended:
            return
        self.epochs += 1
        decay = self.config.weight_averaging
        if (score := self.smoothed.step(scores[decay])) > self.best_score:
            state = models[decay].state_dict()
            self.best_epoch, self.best_score = self.epochs, score
            self.weights = {key: value.clone() for key, value in state.items()}


@dataclass(frozen=True)
class Course(FusionTraining):
    """A training without averages that all recipes follow.

    Attributes:
        seconds: CPU time, in sum over epochs, by what it was spent on: "weights", or an average by its decay.
    """

    followers: Mapping[str, Follower] = field(default_factory=dict)
    averages: dict[float, AveragedModel] = field(default_factory=dict)
    seconds: dict[Any, float] = field(default_factory=dict)

    def _setup(self, precision: Any) -> Any:
        state = super()._setup(precision)
        self.averages.update({decay: weight_average(state.model, decay) for decay in DECAYS if decay})
        self.seconds.update(dict.fromkeys(DECAYS, 0.0))
        return state

    def _finished(self, state: Any) -> bool:
        return all(follower.ended for follower in self.followers.values())

    def _train_epoch(self, state: Any, precision: Any) -> dict[str, float]:
        with _Clock(self.seconds, 0.0):
            return super()._train_epoch(state, precision)

    def _step(self, state: Any, *arguments: Any) -> Any:
        output = super()._step(state, *arguments)
        for decay, average in self.averages.items():
            with _Clock(self.seconds, decay, instead_of=0.0):
                average.update_parameters(state.model)
        return output

    def _validate(self, state: Any) -> dict[str, float]:
        with _Clock(self.seconds, 0.0):
            row = super()._validate(state)
        scores, models = {0.0: row["val_ccc_mean"]}, {0.0: state.model}
        for decay, average in self.averages.items():
            with _Clock(self.seconds, decay):
                renew_statistics(average, self.data.batches(self.config.batch_size))
                models[decay] = average.module
                scores[decay] = self._validation_scores("val", average.module, state.epoch)["val_ccc_mean"]  # type: ignore[arg-type]
        for follower in self.followers.values():
            follower.step(scores, models)
        return row


class _Clock:
    """Adds the CPU time of a block to `seconds[of]`."""

    def __init__(self, seconds: dict[Any, float], of: float, instead_of: float | None = None) -> None:
        self.seconds, self.of, self.instead_of = seconds, of, instead_of

    def __enter__(self) -> None:
        self.began = time.process_time()

    def __exit__(self, *_: object) -> None:
        spent = time.process_time() - self.began
        self.seconds[self.of] += spent
        if self.instead_of is not None:
            self.seconds[self.instead_of] -= spent


@dataclass(frozen=True)
class Demo:
    """What all trainings share."""

    data: Any
    splits: Mapping[str, Sequence[TrackData]]
    validation: Sequence[TrackData]
    geometry: GeometrySettings
    stride: int
    train: TrainSettings

    @classmethod
    def read(cls, root: Path) -> "Demo":
        params = load_params(root / "params.yaml", ("common", "corpus", "geometry", "train"))
        make_deterministic(params.common.threads)
        inputs = read_inputs(root, params.geometry)
        truth = truth_folder(root, params.corpus)
        splits = {
            split: [with_truth(track, truth) for track in tracks]
            for split, tracks in load_evaluated(root, params.geometry).items()
        }
        data = inputs.sequences(params.geometry)
        return cls(data, splits, inputs.validation, params.geometry, inputs.feature_spec.stride, params.train)

    def config(self, model: str, seed: int, **changes: Any) -> TrainSettings:
        own = {"model": model, "options": {}, "weights": None, "seed": seed}
        return TrainSettings.model_validate(self.train.model_dump() | own | changes)

    def scores(self, model: FusionModel, config: TrainSettings) -> dict[str, float | None]:
        """Mean CCC by split."""
        scored = {
            split: split_scores(model, tracks, self.geometry, self.stride, config)
            for split, tracks in self.splits.items()
        }
        return {split: scores["ccc_mean"] for split, scores in scored.items()}

    def follow(self, model: str, seed: int, course: str) -> list[dict[str, Any]]:
        """Train once; a row for each recipe of the course."""
        recipes = named_recipes(course)
        followers = {name: Follower(self.config(model, seed, **changes)) for name, changes in recipes.items()}
        config = self.config(model, seed, **COURSES[course])
        assert config.schedule != "cosine", "whose course depends on the number of epochs"
        training = Course(model, self.data, self.validation, config, self.geometry, self.stride, quiet=True,
                          followers=followers)  # fmt: skip
        trained = training.fit()
        pace = {decay: spent / len(trained.history) for decay, spent in training.seconds.items()}
        rows, known = [], {}
        for name, follower in followers.items():
            decay = follower.config.weight_averaging
            kept = decay, follower.best_epoch
            if kept not in known:
                trained.model.load_state_dict(follower.weights)
                known[kept] = self.scores(trained.model, config)
            row = {"model": model, "seed": seed, "recipe": name, "best_epoch": follower.best_epoch}
            row |= {"epochs": follower.epochs} | known[kept]
            rows.append(row | {"cpu_s": follower.epochs * (pace[0.0] + (pace[decay] if decay else 0.0))})
        return rows

    def alone(self, model: str, seed: int, recipe: str) -> dict[str, Any]:
        """A row for one recipe, trained as `avfusion` does."""
        (changes,) = (found[recipe] for course in COURSES if recipe in (found := named_recipes(course)))
        config = self.config(model, seed, **changes)
        training = FusionTraining(model, self.data, self.validation, config, self.geometry, self.stride, quiet=True)
        trained = training.fit()
        row = {"model": model, "seed": seed, "recipe": recipe, "best_epoch": trained.best_epoch}
        return row | {"epochs": len(trained.history)} | self.scores(trained.model, config)


def with_truth(track: TrackData, folder: Path | None) -> TrackData:
    """A track without labels with the known truth of the demo corpus."""
    known = None if track.valid.any() else read_truth(folder, track.track, len(track.time_s))
    return replace(track, labels=known.labels, valid=known.valid) if known else track


def ratio_of_deviations(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
) -> tuple[float, float, float]:
    """Ratio of two standard deviations over the same seeds, with its 95 % interval, pooled over models.

    The interval is exact for pairs from a normal distribution, and counts in how far the same seed is lucky under both
    recipes (Roy and Potthoff 1958): those ratios that the test of Pitman and Morgan does not refuse. Pooling takes the
    ratio and the correlation as equal for all models.

    Args:
        pairs: by model, scores (S,) of the recipe and of the reference.
    """
    first, second = (np.concatenate([side[i] - side[i].mean() for side in pairs]) for i in (0, 1))
    freedom = len(first) - len(pairs) - 1
    if not (first @ first and second @ second):
        return np.nan, np.nan, np.nan
    share = (first @ first) / (second @ second)
    correlation = (first @ second) / np.sqrt((first @ first) * (second @ second))
    middle = 1 + 2 * (1 - min(correlation**2, 1)) * stdtrit(freedom, 0.975) ** 2 / freedom
    reach = np.sqrt(max(middle**2 - 1, 0))
    low, high = share * (middle - reach), share * (middle + reach)
    return float(np.sqrt(share)), float(np.sqrt(low)), float(np.sqrt(high))


def mean_difference(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float, float]:
    """Mean difference of scores over the same seeds, with its 95 % interval (Student's t), pooled over models."""
    sides = [first - second for first, second in pairs]
    freedom = sum(len(side) - 1 for side in sides)
    variance = sum(((side - side.mean()) ** 2).sum() for side in sides) / freedom
    error = np.sqrt(variance * sum(1 / len(side) for side in sides)) / len(sides)
    middle, reach = float(np.mean([side.mean() for side in sides])), float(stdtrit(freedom, 0.975) * error)
    return middle, middle - reach, middle + reach


def tables(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: recipes over all models, then each model with each recipe."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    seeds = sorted({row["seed"] for row in rows})
    by = {(row["model"], row["recipe"], row["seed"]): row for row in rows}

    def column(model: str, recipe: str, name: str) -> np.ndarray:
        return np.array([by[model, recipe, s][name] for s in seeds if (model, recipe, s) in by], dtype=float)

    def pairs(recipe: str, name: str, of: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        return [(column(model, recipe, name), column(model, REFERENCE, name)) for model in of]

    lines = ["| recipe | deviation, test | ratio to 'as it is' | ratio on validation | change of the test score "
             "| epochs | CPU s |", "|---|---|---|---|---|---|---|"]  # fmt: skip
    recipes = list(dict.fromkeys(row["recipe"] for row in rows))
    for recipe in recipes:
        spread = np.sqrt(np.mean([column(model, recipe, "test").var(ddof=1) for model in models]))
        cells = [recipe, f"{spread:.4f}", *_against(recipe, pairs, models)]
        every = [np.mean([column(model, recipe, name).mean() for model in models]) for name in ("epochs", "cpu_s")]
        lines.append(_line(*cells, *(f"{value:.0f}" for value in every)))
    lines += ["", "| model | recipe | test | validation | best epochs | ratio to 'as it is' | ratio on validation "
              "| change of the test score | CPU s |", "|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for model in models:
        for recipe in recipes:
            scores = [column(model, recipe, name) for name in ("test", "val")]
            cells = [model, recipe, *(f"{x.mean():.4f} ± {x.std(ddof=1):.4f}" for x in scores)]
            cells.append(", ".join(f"{value:.0f}" for value in column(model, recipe, "best_epoch")))
            lines.append(
                _line(*cells, *_against(recipe, pairs, [model]), f"{column(model, recipe, 'cpu_s').mean():.0f}")
            )
    return "\n".join(lines) + "\n"


def _against(recipe: str, pairs: Any, models: Sequence[str]) -> list[str]:
    """Cells: both ratios of deviations and the difference of test scores, with intervals."""
    if recipe == REFERENCE:
        return ["1", "1", ""]
    ratios = [ratio_of_deviations(pairs(recipe, name, models)) for name in ("test", "val")]
    shown = [f"{middle:.2f} [{low:.2f}, {high:.2f}]" for middle, low, high in ratios]
    middle, low, high = mean_difference(pairs(recipe, "test", models))
    return [*shown, f"{middle:+.4f} [{low:+.4f}, {high:+.4f}]"]


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Follow the trainings that are missing, then write the tables."""
    parser = argparse.ArgumentParser(description="By how much does the seed move a score?")
    parser.add_argument("--project", type=Path, required=True, help="a finished demo")
    parser.add_argument("--work", type=Path, required=True, help="folder of finished trainings")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--check", action="store_true", help="train recipes of the first model and seed alone")
    arguments = parser.parse_args()
    work, demo = arguments.work.resolve(), None
    rows = []
    for course, seed, model in product(COURSES, arguments.seeds, arguments.models):
        path = work / "trainings" / "-".join([model, str(seed), *course.split()])
        path = path.with_name(f"{path.name}.json")
        if not path.is_file():
            demo = demo or Demo.read(arguments.project.resolve())
            began = time.process_time()
            found = demo.follow(model, seed, course)
            spent = time.process_time() - began
            write_json(path, {"rows": found, "cpu_s": spent})
            print(f"{model}, seed {seed}, {course}: {spent:.0f} CPU-s (load {os.getloadavg()[0]:.1f})", flush=True)
        rows += json.loads(path.read_text(encoding="utf-8"))["rows"]
    if arguments.check:
        demo = demo or Demo.read(arguments.project.resolve())
        for recipe in (name for course in COURSES for name in named_recipes(course)):
            alone = demo.alone(arguments.models[0], arguments.seeds[0], recipe)
            (shared,) = (row for row in rows if all(row[key] == alone[key] for key in ("model", "seed", "recipe")))
            same = all(shared[key] == value for key, value in alone.items())
            print(f"{alone['model']}, {recipe}: {'the same' if same else f'differs: {alone}, {shared}'}", flush=True)
    write_csv(work / "noise.csv", rows)
    text = tables(rows)
    write_text(work / "noise.md", text)
    print(text)


if __name__ == "__main__":
    main()
