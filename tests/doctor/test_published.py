"""What published weights ask of a project."""

import pytest
import yaml

from avfusion.doctor.published import look_at_batch_norm, look_at_maps, look_at_weights
from avfusion.params.params import Params, check_params
from tests.doctor.test_costs import CONFIGS, aff_wild2


def params_with(stride: int = 8, output: str = "map") -> Params:
    values = yaml.safe_load((CONFIGS / "affwild2-tsav.yaml").read_text())
    values["features"]["stride"] = stride
    values["backbones"]["output"] = output
    if output == "pooled":
        values["train"] |= {"model": "jca", "weights": None}
    return check_params(values)


@pytest.mark.parametrize(("stride", "size"), [(1, "138.2"), (8, "17.3")])
def test_maps_of_all_of_aff_wild2(stride: int, size: str) -> None:
    """2.7 million clips of (512 * 49 + 512) float16 numbers."""
    (item,) = look_at_maps(params_with(stride), aff_wild2())
    assert item.status == "warn"
    assert f"the features {size} GB at stride {stride}" in item.text
    assert ("features.stride 8 takes 17.3 GB" in item.text) == (stride == 1)
    assert ("pooled 5.5 GB" if stride == 1 else "pooled 0.7 GB") in item.text


def test_small_maps_are_no_worry_and_vectors_no_matter() -> None:
    (item,) = look_at_maps(params_with(), aff_wild2(ticks={"train": 100_000}))
    assert (item.status, "0.6 GB" in item.text) == ("ok", True)
    assert look_at_maps(params_with(output="pooled"), aff_wild2()) == []


def test_what_is_not_imported_is_missing(tmp_path) -> None:
    items = {item.name: item for item in look_at_weights(tmp_path, params_with())}
    assert set(items) == {"backbones.visual.weights", "backbones.audio.weights", "train.weights"}
    assert all(item.status == "missing" for item in items.values())
    assert "avfusion import-weights tsav FILE" in items["backbones.audio.weights"].text
    assert "avfusion import-weights jointcam FILE" in items["train.weights"].text
    for name in ("tsav/audio.safetensors", "tsav/visual.safetensors", "jointcam/config.json"):
        path = tmp_path / "models" / "imported" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert look_at_weights(tmp_path, params_with()) == []


def test_a_download_that_is_not_there_is_named_with_its_place(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    params = check_params(yaml.safe_load((CONFIGS / "affwild2.yaml").read_text()))
    items = {item.name: item for item in look_at_weights(tmp_path, params)}
    assert set(items) == {"backbones.visual.weights", "backbones.audio.weights"}
    place = tmp_path / "hub" / "checkpoints"
    for stream, file in (("visual", "r2plus1d_18-91a641e6.pth"), ("audio", "resnet18-f37072fd.pth")):
        item = items[f"backbones.{stream}.weights"]
        assert item.status == "warn"
        assert f"{file} is not in {place}: the stage backbones downloads it" in item.text
        place.mkdir(parents=True, exist_ok=True)
        (place / file).touch()
    assert look_at_weights(tmp_path, params) == []


def test_a_file_of_ones_own_that_is_not_there_is_missing(tmp_path) -> None:
    values = yaml.safe_load((CONFIGS / "demo.yaml").read_text())
    for stream in ("visual", "audio"):
        values["backbones"][stream]["weights"] = f"{stream}.safetensors"
    (tmp_path / "audio.safetensors").mkdir()
    items = {item.name: item for item in look_at_weights(tmp_path, check_params(values))}
    assert {item.status for item in items.values()} == {"missing"}
    assert items["backbones.visual.weights"].text == "visual.safetensors does not exist"
    assert items["backbones.audio.weights"].text == "audio.safetensors is a folder, must be a file"


def test_frozen_statistics_of_random_weights_are_warned_of() -> None:
    values = yaml.safe_load((CONFIGS / "demo.yaml").read_text())
    assert look_at_batch_norm(check_params(values)) == []
    values["backbones"]["batch_norm"] = "frozen"
    (item,) = look_at_batch_norm(check_params(values))
    assert (item.status, "visual and audio weights start at random" in item.text) == ("warn", True)
    values["backbones"]["audio"]["epochs"] = 0
    (item,) = look_at_batch_norm(check_params(values))
    assert "while visual weights" in item.text
    assert look_at_batch_norm(params_with()) == []
