"""Convert the search space of params.yaml to parameters of a trial, and a trial to a section `train`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import BaseTrial

from avfusion.experiments.sweep.dimensions import REAL_KEYS, SWEPT_TRAIN_KEYS, Choice, Dimension, parse_dimension
from avfusion.fusion.catalogue import fusion_module, fusion_options
from avfusion.runtime.units import unit_digest
from avfusion.training.settings import TrainSettings

DIGITS = 4
"""Significant digits of a drawn real number: nobody wants to read, or write into params.yaml, more of them."""

Point = dict[str, Any]
"""Drawn values by name, those of `Train` and of the drawn model's options side by side."""


@dataclass(frozen=True)
class SearchSpace:
    """Drawn dimensions, and the fixed rest of params.yaml.

    Attributes:
        dimensions: by name, keys of `Train` and options of fusion models.
        fixed: section `train`, of which the rest is taken.
    """

    dimensions: Mapping[str, Dimension]
    fixed: TrainSettings

    @classmethod
    def of(cls, written: Mapping[str, Any], fixed: TrainSettings) -> "SearchSpace":
        """Read `sweep.space`, whose faults `config.Sweep` has told already."""
        return cls({key: parse_dimension(value, key in REAL_KEYS) for key, value in written.items()}, fixed)

    def distributions(self) -> dict[str, BaseDistribution]:
        """Optuna's form of every dimension."""
        return {name: _distribution(dimension) for name, dimension in self.dimensions.items()}

    def names(self, model: str) -> list[str]:
        """Dimensions drawn for a fusion model, without those that it lacks."""
        options = {*fusion_options(model), *(key for key in SWEPT_TRAIN_KEYS if key != "dropout")}
        return [name for name in self.dimensions if name in options]

    def suggest(self, trial: BaseTrial) -> Point:
        """Draw a point; the model first, since it decides what else there is to draw."""
        point: Point = {}
        if "model" in self.dimensions:
            point["model"] = _suggest(trial, "model", self.dimensions["model"])
        for name in self.names(point.get("model", self.fixed.model)):
            if name != "model":
                point[name] = _suggest(trial, name, self.dimensions[name])
        return point

    def paper_point(self) -> tuple[Point, list[str]]:
        """The paper's values of what is drawn (defaults of `Train` and of jca), and those that lie outside."""
        recipe = TrainSettings()
        options = fusion_options(recipe.model)
        point = {
            name: options[name].default if name in options else getattr(recipe, name)
            for name in self.names(recipe.model)
        }
        if "model" not in point and self.fixed.model != recipe.model:
            return point, [f"model {recipe.model}"]
        return point, [f"{name} {value}" for name, value in point.items() if value not in self.dimensions[name]]

    def train_config(self, point: Mapping[str, Any]) -> TrainSettings:
        """Section `train` with the drawn values of a point."""
        model = point.get("model", self.fixed.model)
        options = self._fixed_options() if model == self.fixed.model else {}
        options |= {name: value for name, value in point.items() if name not in SWEPT_TRAIN_KEYS}
        drawn = {name: value for name, value in point.items() if name in SWEPT_TRAIN_KEYS}
        return TrainSettings.model_validate(self.fixed.model_dump() | drawn | {"model": model, "options": options})

    def fixed_values(self) -> dict[str, Any]:
        """What every trial has in common and its score depends on, for telling studies apart."""
        values = self.fixed.identity(exclude=("baselines", *self.dimensions))
        models = self.dimensions.get("model")
        tried = not isinstance(models, Choice) or self.fixed.model in models.values
        return values | {"options": self._fixed_options() if tried else {}}

    def code_digest(self) -> str:
        """Digest of the code that trains the models of the space."""
        return unit_digest("fusion", *sorted({fusion_module(config.model) for config in self.models()}))

    def models(self) -> list[TrainSettings]:
        """Section `train` for every model of the space, with the options that are not drawn."""
        models = self.dimensions.get("model")
        names = models.values if isinstance(models, Choice) else (self.fixed.model,)
        return [self.train_config({"model": str(name)}) for name in names]

    def _fixed_options(self) -> dict[str, Any]:
        """Options of params.yaml's model that are not drawn; those that are may stand there since `--apply`."""
        return {name: value for name, value in self.fixed.options.items() if name not in self.dimensions}


def point_of(params: Mapping[str, Any]) -> Point:
    """A point from an Optuna trial's parameters."""
    return {name: float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value for name, value in params.items()}


def _suggest(trial: BaseTrial, name: str, dimension: Dimension) -> Any:
    if isinstance(dimension, Choice):
        return trial.suggest_categorical(name, dimension.values)
    if dimension.whole:
        step = 1 if dimension.step is None else int(dimension.step)
        return trial.suggest_int(name, int(dimension.low), int(dimension.high), step=step, log=dimension.log)
    value = trial.suggest_float(name, dimension.low, dimension.high, step=dimension.step, log=dimension.log)
    return point_of({name: value})[name]


def _distribution(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, Choice):
        return CategoricalDistribution(dimension.values)
    if dimension.whole:
        step = 1 if dimension.step is None else int(dimension.step)
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log, step=step)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)
