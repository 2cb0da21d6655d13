"""The search space: what params.yaml may say, what is drawn, and what training makes of it."""

from itertools import product
from pathlib import Path
from typing import Any

import optuna
import pytest

from avfusion.experiments.sweep.dimensions import REAL_KEYS, SWEPT_TRAIN_KEYS, Choice, Range, parse_dimension
from avfusion.experiments.sweep.space import SearchSpace, point_of
from avfusion.fusion.catalogue import fusion_names, takes_maps, tunable_options
from avfusion.fusion.registry import build_fusion, model_options
from avfusion.params.params import check_params, load_params
from avfusion.runtime.errors import BadInputError
from avfusion.training.settings import TrainSettings

CONFIGS = Path(__file__).parents[3] / "avfusion" / "params" / "presets"


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"lerning_rate": [1]}, r"sweep\.space\.lerning_rate is \[1\]: .*must be one of model, lr, .*k, "),
        ({"model": ["concat"], "k": [8]}, r"sweep\.space\.k is \[8\]: train and the models concat have nothing"),
        ({"model": ["jac"]}, r"sweep\.space\.model is 'jac': must be one of concat"),
        ({"model": "jca"}, r"sweep\.space\.model is 'jca': a list of values is needed, or low and high"),
        ({"k": {"low": 0, "high": 8}}, r"sweep\.space\.k is 0: must be a whole number from 1"),
        ({"k": [8, "many"]}, r"sweep\.space\.k is 'many': must be a whole number from 1"),
        ({"k": []}, r"sweep\.space\.k is \[\]: an empty list leaves nothing"),
        ({"k": [8, 8]}, r"sweep\.space\.k .*a value stands there twice"),
        ({"k": [[8]]}, r"sweep\.space\.k .*neither a number nor a word"),
        ({"lr": {"low": 1e-2, "high": 1e-4}}, r"sweep\.space\.lr .*the range is empty: low \(0\.01\) has to be less"),
        ({"lr": {"low": 1e-3, "high": 1e-3}}, r"sweep\.space\.lr .*the range is empty"),
        ({"lr": {"low": 1e-3}}, r"sweep\.space\.lr .*high is missing"),
        ({"lr": {"low": 1e-3, "hihg": 1}}, r"sweep\.space\.lr .*hihg is unknown: must be one of low, high, log, step"),
        ({"lr": {"low": 0, "high": 1, "log": True}}, r"sweep\.space\.lr .*a logarithmic range begins above 0"),
        ({"lr": {"low": 1, "high": 2, "log": True, "step": 1}}, r"log and step exclude each other"),
        ({"lr": {"low": "a", "high": 2}}, r"sweep\.space\.lr .*low has to be a number"),
        ({"dropout": {"low": 0.1, "high": 1.5}}, r"sweep\.space\.dropout is 1\.5: must be less than 1"),
        ({"batch_size": [0, 8]}, r"sweep\.space\.batch_size is 0: "),
        ({"k": {"low": 8, "high": 16, "step": 0.5}}, r"between whole numbers it is a whole number"),
        ({"epochs": [3]}, r"sweep\.space\.epochs is \[3\]: train and the models"),
    ],
)
def test_faults_are_told_with_key_value_and_what_is_allowed(space: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message) as caught:
        check_params({"sweep": {"space": space}}, ["sweep"])
    assert "\n" not in str(caught.value)


def test_unknown_keys_of_the_section_are_refused() -> None:
    with pytest.raises(BadInputError, match=r"sweep\.trails is unknown: must be one of study, trials"):
        check_params({"sweep": {"trails": 3}}, ["sweep"])


def test_dimensions_are_read_as_written() -> None:
    assert parse_dimension([8, "a", True]) == Choice((8, "a", True))
    assert parse_dimension({"low": 8, "high": 64, "step": 8}) == Range(8, 64, step=8)
    assert parse_dimension({"low": "1e-4", "high": 1, "log": True}) == Range(1e-4, 1.0, log=True)
    assert not parse_dimension({"low": 0, "high": 1}, real=True).whole  # type: ignore[union-attr]
    assert 24 in Range(8, 64, step=8)
    assert 25 not in Range(8, 64, step=8)
    assert 9.5 not in Range(8, 64)
    assert 0.6 in Range(0.0, 0.8, step=0.1)


def test_the_real_keys_are_those_of_train() -> None:
    assert set(REAL_KEYS) == {key for key in SWEPT_TRAIN_KEYS if TrainSettings.model_fields[key].annotation is float}


def test_an_option_that_the_model_lacks_is_not_drawn(space: SearchSpace) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    points = [space.suggest(study.ask()) for _ in range(40)]
    assert {point["model"] for point in points} == {"jca", "concat"}
    for point in points:
        assert ("k" in point) == (point["model"] == "jca")
        config = space.train_config(point)
        assert config.model == point["model"]
        assert config.lr == point["lr"] == float(f"{point['lr']:.4g}")
        assert set(config.options) == set(point) & {"encoder_width", "k"}
        assert (config.epochs, config.seed) == (50, 0)
    assert len({point["lr"] for point in points}) == 40


@pytest.mark.parametrize("model", [name for name in fusion_names() if not takes_maps(name)])
def test_every_registry_entry_can_be_searched_by_its_own_options(model: str) -> None:
    defaults = build_fusion(model).config()
    options = {name: [defaults[name]] for name in tunable_options(model) if defaults[name] is not None}
    written = {"model": [model], "dropout": [0.25], **options}
    check_params({"sweep": {"space": written}}, ["sweep"])
    space = SearchSpace.of(written, TrainSettings(model=model))
    point = space.suggest(optuna.create_study().ask())
    config = space.train_config(point)
    drawn = set(options) | {"model"} | ({"dropout"} & set(model_options(model)))
    assert set(point) == drawn
    build_fusion(model, dropout=config.dropout, **config.options)


@pytest.mark.parametrize("preset", sorted(path.stem for path in CONFIGS.glob("*.yaml")))
def test_every_point_of_a_presets_space_is_a_model(preset: str) -> None:
    params = load_params(CONFIGS / f"{preset}.yaml", ["train", "sweep"])
    space = SearchSpace.of(params.sweep.space, TrainSettings())
    assert space.paper_point()[1] == []
    models = space.dimensions["model"]
    assert isinstance(models, Choice)
    drawn = {"model"}
    for model in models.values:
        options = {name: space.dimensions[name] for name in space.names(str(model)) if name not in SWEPT_TRAIN_KEYS}
        for values in product(*(dimension.ends for dimension in options.values())):
            build_fusion(str(model), **dict(zip(options, values, strict=True)))
        drawn |= set(space.names(str(model)))
    assert drawn == set(space.dimensions), "a dimension that no model has"


def test_options_of_params_yaml_stay_for_its_own_model_alone() -> None:
    fixed = TrainSettings(model="jca", options={"k": 8, "released_concat": True})
    space = SearchSpace.of({"model": ["jca", "concat"], "k": [16]}, fixed)
    assert space.train_config({"model": "jca", "k": 16}).options == {"k": 16, "released_concat": True}
    assert space.train_config({"model": "concat"}).options == {}


def test_the_papers_point_is_the_papers(space: SearchSpace) -> None:
    point, outside = space.paper_point()
    expected = {"model": "jca", "encoder_width": 128, "k": 32, "dropout": 0.6, "lr": 1e-4, "batch_size": 64}
    assert (point, outside) == (expected, [])
    narrow = SearchSpace.of({"lr": {"low": 1e-3, "high": 1e-2}, "k": [8, 32]}, TrainSettings())
    assert narrow.paper_point()[1] == ["lr 0.0001"]
    assert SearchSpace.of({"lr": [1e-4]}, TrainSettings(model="concat")).paper_point()[1] == ["model jca"]


def test_only_what_is_not_drawn_tells_studies_apart(space: SearchSpace) -> None:
    fixed = space.fixed_values()
    assert {"epochs", "seed", "schedule", "patience", "options"} <= set(fixed)
    assert not {"lr", "model", "dropout", "batch_size", "baselines"} & set(fixed)


def test_a_stored_point_is_read_as_it_was_trained() -> None:
    assert point_of({"lr": 0.00031415926, "k": 32, "model": "jca"}) == {"lr": 0.0003142, "k": 32, "model": "jca"}
