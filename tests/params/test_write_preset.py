"""Presets: comments kept, the root replaced, and nobody's edits lost."""

from pathlib import Path

import pytest
import yaml

from avfusion.params.params import load_params
from avfusion.params.write_preset import write_preset
from avfusion.runtime.errors import BadInputError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bare_project(tmp_path):
    return tmp_path


def test_without_a_root_it_is_the_preset_byte_for_byte(bare_project):
    target = write_preset(bare_project, "demo")
    assert target.read_bytes() == (ROOT / "avfusion" / "params" / "presets" / "demo.yaml").read_bytes()


def test_the_demo_has_its_own_root(bare_project, tmp_path_factory):
    with pytest.raises(BadInputError, match=r"demo\.yaml: corpus\.root is '.*': the demo corpus is rendered "):
        write_preset(bare_project, "demo", tmp_path_factory.mktemp("elsewhere"))
    assert not (bare_project / "params.yaml").exists()


@pytest.mark.parametrize("name", ["affwild2", "affwild2-tsav", "manifest", "ravdess", "cremad"])
def test_only_the_line_of_the_root_changes(bare_project, name, tmp_path_factory):
    data = tmp_path_factory.mktemp("my data")
    before = (ROOT / "avfusion" / "params" / "presets" / f"{name}.yaml").read_text().splitlines()
    after = write_preset(bare_project, name, data).read_text().splitlines()
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert len(changed) == 1
    assert changed[0][0].startswith("  root: ")
    assert changed[0][1].startswith(f"  root: {data}")
    assert "# folder " in changed[0][1]
    assert load_params(bare_project / "params.yaml").corpus.root == str(data)


def test_a_root_inside_the_project_is_written_relative_to_it(bare_project, monkeypatch):
    (bare_project / "data" / "raw" / "mine").mkdir(parents=True)
    monkeypatch.chdir(bare_project / "data")
    write_preset(bare_project, "affwild2", "raw/mine")
    assert load_params(bare_project / "params.yaml").corpus.root == "data/raw/mine"


def test_a_link_inside_the_project_is_written_by_its_name(bare_project, tmp_path_factory):
    data = tmp_path_factory.mktemp("far away")
    (bare_project / "data" / "raw").mkdir(parents=True)
    (bare_project / "data" / "raw" / "affwild2").symlink_to(data)
    write_preset(bare_project, "affwild2", bare_project / "data" / "raw" / "affwild2")
    assert (bare_project / "params.yaml").read_bytes() == (
        ROOT / "avfusion" / "params" / "presets" / "affwild2.yaml"
    ).read_bytes()
    elsewhere = tmp_path_factory.mktemp("links") / "project"
    elsewhere.symlink_to(bare_project)
    write_preset(bare_project, "affwild2", elsewhere / "data")
    assert load_params(bare_project / "params.yaml").corpus.root == "data"


def test_an_edited_file_is_kept_unless_forced(bare_project):
    target = write_preset(bare_project, "demo")
    edited = target.read_text().replace("batch_size: 32", "batch_size: 31")
    target.write_text(edited)
    with pytest.raises(BadInputError, match=r"params\.yaml was edited.*--force"):
        write_preset(bare_project, "affwild2")
    assert target.read_text() == edited
    write_preset(bare_project, "affwild2", force=True)
    assert yaml.safe_load(target.read_text())["corpus"]["name"] == "affwild2"


def test_comments_and_another_root_are_no_edits(bare_project, tmp_path_factory):
    target = write_preset(bare_project, "affwild2", tmp_path_factory.mktemp("data"))
    target.write_text(target.read_text() + "# mine\n")
    assert (
        write_preset(bare_project, "demo").read_bytes()
        == (ROOT / "avfusion" / "params" / "presets" / "demo.yaml").read_bytes()
    )


def test_a_broken_file_is_an_edited_one(bare_project):
    (bare_project / "params.yaml").write_text("a: [")
    with pytest.raises(BadInputError, match="was edited"):
        write_preset(bare_project, "demo")


def test_unknown_presets_and_missing_roots_are_named(bare_project):
    names = "affwild2, affwild2-tsav, cremad, demo, demo-interaction, manifest, ravdess"
    with pytest.raises(BadInputError, match=f"'affwild' is unknown: must be one of {names}"):
        write_preset(bare_project, "affwild")
    with pytest.raises(BadInputError, match=r"--root /not/here: must be the folder"):
        write_preset(bare_project, "affwild2", "/not/here")
    assert not (bare_project / "params.yaml").exists()


def test_affwild2_has_the_settings_of_the_paper():
    params = load_params(ROOT / "avfusion" / "params" / "presets" / "affwild2.yaml")
    assert (params.geometry.fps, params.features.stride, params.geometry.target_offset) == (None, 1, 0)
    assert (params.train.lr, params.train.batch_size, params.train.dropout, params.train.epochs) == (1e-4, 64, 0.6, 50)
    visual, audio = params.backbones.visual, params.backbones.audio
    assert (visual.name, visual.width, visual.input_size, visual.weights) == ("r2plus1d_18", 64, 112, "kinetics400")
    assert (params.backbones.batch_norm, params.backbones.augmentation) == ("frozen", True)
    assert (audio.name, audio.width, audio.input_size, audio.weights) == ("resnet18", 64, 64, "imagenet")


def test_the_preset_of_the_published_weights_differs_in_what_they_need_alone() -> None:
    paper, published = (
        yaml.safe_load((ROOT / "avfusion" / "params" / "presets" / f"{name}.yaml").read_text())
        for name in ("affwild2", "affwild2-tsav")
    )
    for stream in ("visual", "audio"):
        paper["backbones"][stream] |= {"weights": "tsav", "epochs": 0}
    paper["backbones"]["output"] = "map"
    paper["features"]["stride"] = 8
    published_model = {"model": "released_coattention", "weights": "models/imported/jointcam"}
    paper["train"] |= published_model | {"baselines": [], "epochs": 0, "inference": "tile"}
    paper["evaluate"]["released_protocol"] = True
    assert published == paper
