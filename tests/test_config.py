"""Parameters: presets, messages, and YAML's traps."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from avfusion.config import SECTIONS, check_params, load_params
from avfusion.errors import BadInputError

ROOT = Path(__file__).parents[1]


@pytest.fixture
def values() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "configs" / "demo.yaml").read_text())


@pytest.mark.parametrize("preset", ["demo", "affwild2"])
def test_presets_validate_and_name_every_key(preset: str) -> None:
    path = ROOT / "configs" / f"{preset}.yaml"
    params = load_params(path)
    written = yaml.safe_load(path.read_text())
    assert set(written) == set(SECTIONS)
    for section, keys in params.model_dump(by_alias=True).items():
        assert set(keys) == set(written[section]), section


def test_params_yaml_is_the_demo_preset() -> None:
    assert (ROOT / "params.yaml").read_bytes() == (ROOT / "configs" / "demo.yaml").read_bytes()


def test_only_the_sections_asked_for(values: dict[str, Any]) -> None:
    params = check_params(values, ["geometry"])
    assert params.geometry.clip_frames == 32
    assert params.train is None
    assert params.execution.workers >= 1


def test_scientific_notation_that_yaml_reads_as_text(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text().replace("lr: 1.0e-3 ", "lr: 1e-4 ")
    (tmp_path / "params.yaml").write_text(text)
    assert isinstance(yaml.safe_load(text)["train"]["lr"], str)
    assert load_params(tmp_path / "params.yaml").train.lr == 1e-4


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("train", "lerning_rate", 1, r"train\.lerning_rate is unknown: allowed are model, options, .*lr"),
        ("train", "lr", "fast", r"train\.lr is 'fast': a number is needed"),
        ("train", "lr", -1, r"train\.lr is -1.*: input should be greater than 0"),
        ("train", "lr", True, r"train\.lr is True: a number is needed"),
        ("train", "lr", ".nan", r"train\.lr"),
        ("train", "epochs", 2.5, r"train\.epochs is 2\.5: input should be a valid integer"),
        ("train", "dropout", 1.0, r"train\.dropout is 1\.0: input should be less than 1"),
        ("features", "stride", 5, r"features: stride is 5: allowed are the divisors of 32"),
        ("corpus", "name", "affwild", r"corpus\.name is 'affwild': input should be 'demo', 'affwild2' or 'manifest'"),
        ("surprise", "key", 1, r"surprise is unknown: allowed are common, "),
    ],
)
def test_faults_name_section_key_and_what_is_allowed(
    values: dict[str, Any], section: str, key: str, value: object, message: str
) -> None:
    values.setdefault(section, {})[key] = value
    with pytest.raises(BadInputError, match=message):
        check_params(values)


def test_every_fault_is_listed_at_once(values: dict[str, Any]) -> None:
    values["train"]["lr"] = -1
    values["common"]["threads"] = 0
    with pytest.raises(BadInputError, match=r"common\.threads.*train\.lr"):
        check_params(values)


def test_missing_file_section_and_not_yaml(tmp_path: Path, values: dict[str, Any]) -> None:
    with pytest.raises(BadInputError, match=r"params\.yaml is missing: `avfusion preset demo` writes one"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("a: [1")
    with pytest.raises(BadInputError, match="is not YAML"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("just text")
    with pytest.raises(BadInputError, match="found str"):
        load_params(tmp_path / "params.yaml")
    del values["train"]
    with pytest.raises(BadInputError, match="section train is missing"):
        check_params(values)
