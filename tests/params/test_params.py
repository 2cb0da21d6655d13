"""Parameters: presets, messages, and YAML's traps."""

import itertools
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from avfusion.backbones.catalogue import backbone_names
from avfusion.params.params import SECTIONS, check_params, load_params
from avfusion.runtime.errors import BadInputError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def values() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "avfusion" / "params" / "presets" / "demo.yaml").read_text())


@pytest.mark.parametrize(
    "preset", ["demo", "demo-interaction", "affwild2", "affwild2-tsav", "manifest", "ravdess", "cremad"]
)
def test_presets_validate_and_name_every_key(preset: str) -> None:
    path = ROOT / "avfusion" / "params" / "presets" / f"{preset}.yaml"
    params = load_params(path)
    written = yaml.safe_load(path.read_text())
    assert set(written) == set(SECTIONS)
    for section, keys in params.to_dict().items():
        assert set(keys) == set(written[section]), section


@pytest.mark.parametrize("preset", ["demo", "demo-interaction", "affwild2", "manifest", "ravdess", "cremad"])
def test_comments_of_the_presets_name_every_backbone(preset: str) -> None:
    text = (ROOT / "avfusion" / "params" / "presets" / f"{preset}.yaml").read_text()
    for stream in ("visual", "audio"):
        comment = text.split(f"  {stream}:\n    name: ")[1].split("\n")[0].split("# ")[1]
        assert comment.removesuffix(" (a floor)").split(" | ") == list(backbone_names(stream))


def test_params_yaml_is_the_demo_preset() -> None:
    assert (ROOT / "params.yaml").read_bytes() == (ROOT / "avfusion" / "params" / "presets" / "demo.yaml").read_bytes()


def test_no_folds_are_zero_or_null(values: dict[str, Any]) -> None:
    for given, read in ((None, 0), (0, 0), (6, 6)):
        values["backbones"]["folds"] = given
        assert check_params(values).backbones.folds == read


def test_only_the_sections_asked_for(values: dict[str, Any]) -> None:
    params = check_params(values, ["geometry"])
    assert params.geometry.clip_frames == 32
    with pytest.raises(AttributeError, match=r"section train of params\.yaml was not requested"):
        _ = params.train
    assert params.execution.workers >= 1


def test_scientific_notation_that_yaml_reads_as_text(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text().replace("lr: 1.0e-4 ", "lr: 1e-5 ")
    (tmp_path / "params.yaml").write_text(text)
    assert isinstance(yaml.safe_load(text)["train"]["lr"], str)
    assert load_params(tmp_path / "params.yaml").train.lr == 1e-5


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("train", "lerning_rate", 1, r"train\.lerning_rate is unknown: must be one of model, options, .*lr"),
        ("train", "lr", "fast", r"train\.lr is 'fast': must be a number"),
        ("train", "lr", -1, r"train\.lr is -1.*: must be greater than 0"),
        ("train", "lr", True, r"train\.lr is True: must be a number"),
        ("train", "lr", ".nan", r"train\.lr"),
        ("train", "epochs", 2.5, r"train\.epochs is 2\.5: must be a valid integer"),
        ("train", "dropout", 1.0, r"train\.dropout is 1\.0: must be less than 1"),
        ("train", "warmup_epochs", -1, r"train\.warmup_epochs is -1: must be greater than or equal to 0"),
        ("train", "warmup_epochs", 50, r"train\.warmup_epochs is 50: must be below train\.epochs \(50\)"),
        ("train", "sequence_offsets", "drawn", r"train\.sequence_offsets is 'drawn': must be 'fixed' or 'random'"),
        (
            "train",
            "options",
            {"correlation_std": 1},
            r"train\.options\.correlation_std is 1: must be a number from 0 to",
        ),
        (
            "features",
            "stride",
            5,
            r"features\.stride is 5: must be a divisor of geometry\.clip_frames \(1, 2, 4",
        ),
        (
            "geometry",
            "kept_frames",
            5,
            r"geometry\.kept_frames is 5: must be a divisor of clip_frames \(1, 2, 4",
        ),
        (
            "geometry",
            "window_hop",
            301,
            r"geometry\.window_hop is 301: must be at most window_frames \(300\), or frames between windows have no",
        ),
        ("features", "layout", "frame", r"features\.layout is 'frame': must be 'clips' or 'frames'"),
        ("render", "min_seconds", 31, r"render\.min_seconds is 31\.0: must be at most max_seconds \(30\.0\)"),
        (
            "train",
            "model",
            "jac",
            r"train\.model is 'jac': must be one of concat, cross_attention",
        ),
        ("train", "baselines", ["concat", "audio"], r"train\.baselines\.1 is 'audio': must be one of concat, "),
        ("train", "options", {"kk": "x"}, r"train\.options\.kk is 'x': jca has no such option: must be one of .*, k, "),
        ("train", "options", {"dropout": 0.1}, r"train\.options\.dropout is 0\.1: .*\(it is train\.dropout\): must be"),
        ("train", "options", {"k": 0}, r"train\.options\.k is 0: must be a whole number from 1"),
        ("train", "options", {"encoder_width": "x"}, r"train\.options\.encoder_width is 'x': must be a whole"),
        ("train", "options", {"released_concat": 1}, r"train\.options\.released_concat is 1: must be true or"),
        ("train", "options", {"length": [1]}, r"train\.options\.length is \[1\]: .*geometry\.sequence_clips"),
        ("backbones", "batch_norm", "eval", r"backbones\.batch_norm is 'eval': must be 'frozen' or 'train'"),
        ("backbones", "augmentation", "some", r"backbones\.augmentation is 'some': must be a valid boolean"),
        ("backbones", "hue", 0.6, r"backbones\.hue is 0\.6: must be less than or equal to 0\.5"),
        ("backbones", "folds", 1, r"backbones\.folds is 1: must be 0 \(none\), or 2 or more"),
        ("backbones", "folds", -2, r"backbones\.folds is -2: "),
        (
            "corpus",
            "name",
            "affwild",
            r"corpus\.name is 'affwild': must be 'demo', 'affwild2', 'manifest', 'ravdess' or 'cremad'",
        ),
        (
            "corpus",
            "root",
            "nowhere/x",
            r"corpus\.root is 'nowhere/x': the demo corpus is rendered into data/raw/demo; ",
        ),
        ("register", "name", "", r"register\.name is '': must be a name without '/' and ':'"),
        ("register", "name", "a/b:c", r"register\.name is 'a/b:c': must be a name without '/' and ':'"),
        ("surprise", "key", 1, r"surprise is unknown: must be one of common, "),
    ],
)
def test_faults_name_section_key_and_what_is_allowed(
    values: dict[str, Any], section: str, key: str, value: object, message: str
) -> None:
    values.setdefault(section, {})[key] = value
    with pytest.raises(BadInputError, match=message):
        check_params(values)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, None),  # jca reads clips, at any stride
        (
            {"train": {"model": "grjca"}},
            r"^params\.yaml: geometry\.window_frames is 300: must be a multiple of features\.stride \(8\), since grjca",
        ),
        (
            {"train": {"baselines": ["concat", "raav"]}, "geometry": {"window_frames": 320, "window_hop": 160}},
            r"^params\.yaml: robustness\.stride is 32: must be features\.stride \(8\), since raav reads windows",
        ),
        (
            {
                "train": {"model": "temporal_concat"},
                "geometry": {"window_frames": 320, "window_hop": 160},
                "robustness": {"stride": 8},
            },
            None,
        ),
        ({"train": {"model": "temporal_concat", "options": {"temporal": "bilstm"}}}, None),
        ({"train": {"model": "leader_follower", "options": {"form": "abaw3"}}}, r"since leader_follower reads windows"),
        (
            {"train": {"baselines": ["released_coattention"]}},
            r"features\.layout is 'frames': must be clips, since released_coattention takes visual maps",
        ),
        (
            {"backbones": {"output": "map"}},
            r"^params\.yaml: backbones\.output is 'map': must be pooled with features\.layout frames$",
        ),
    ],
)
def test_the_layout_frames_agrees_with_the_models_that_read_it(
    values: dict[str, Any], changes: dict[str, dict[str, Any]], message: str | None
) -> None:
    values["features"]["layout"] = "frames"
    for section, some in changes.items():
        values[section] |= some
    if message is None:
        assert check_params(values).features.layout == "frames"
        return
    with pytest.raises(BadInputError, match=message):
        check_params(values)


@pytest.mark.parametrize("sections", [["geometry"], ["features"], ["common"], None])
def test_sections_that_disagree_are_found_whichever_is_asked_for(
    values: dict[str, Any], sections: list[str] | None
) -> None:
    values["geometry"] |= {"clip_frames": 24}
    values["features"] |= {"stride": 12}
    params = check_params(values, sections)
    assert ("features" in params) == (sections in (["features"], None))
    values["features"] |= {"stride": 16}
    with pytest.raises(
        BadInputError, match=r"features\.stride is 16: must be .*clip_frames \(1, 2, 3, 4, 6, 8, 12, 24\)"
    ):
        check_params(values, sections)


def test_the_published_fusion_needs_maps_whichever_section_is_asked_for(values: dict[str, Any]) -> None:
    values["train"] |= {"model": "released_coattention", "options": {}}
    for sections in (["train"], ["backbones"], ["common"], None):
        with pytest.raises(BadInputError, match=r"backbones\.output is 'pooled': must be map, since .*released_coatt"):
            check_params(values, sections)
    values["backbones"]["output"] = "map"
    with pytest.raises(BadInputError) as raised:
        check_params(values)
    for words in (
        r"backbones\.visual is narrow_r2plus1d \(width 8, input_size 56\), with features of 64 x 4 x 4: "
        r"must be 512 x 7 x 7, which released_coattention reads",
        r"backbones\.audio is narrow_resnet with 128 features: must be 512, which released_coattention reads",
    ):
        assert re.search(words, str(raised.value)), words
    values["backbones"]["visual"] |= {"name": "r2plus1d_18", "width": 64, "input_size": 112}
    values["backbones"]["audio"] |= {"name": "resnet18", "width": 64}
    assert check_params(values).train.model == "released_coattention"
    values["geometry"]["sequence_clips"] = 8
    with pytest.raises(BadInputError, match=r"geometry\.sequence_clips is 8: must be 16"):
        check_params(values)


def test_baselines_without_weights_and_epochs_are_refused(values: dict[str, Any]) -> None:
    values["train"] |= {"weights": "models/mine", "epochs": 0}
    with pytest.raises(BadInputError, match=r"train\.baselines is \['audio_only', .*train\.epochs is 0: must be \[\]"):
        check_params(values)
    check_params(values | {"train": values["train"] | {"epochs": 1}})
    check_params(values | {"train": values["train"] | {"baselines": []}})


def test_a_fault_of_another_section_is_not_this_stages(values: dict[str, Any]) -> None:
    values["features"]["stride"] = "many"
    assert check_params(values, ["geometry"]).geometry.clip_frames == 32
    with pytest.raises(BadInputError, match=r"features\.stride is 'many'"):
        check_params(values, ["features"])


@pytest.mark.parametrize(
    ("stream", "key", "value", "message"),
    [
        (
            "visual",
            "name",
            "r2plus1d",
            r"backbones\.visual\.name is 'r2plus1d': must be one of narrow_r2plus1d, r2plus1d_18",
        ),
        ("visual", "name", "resnet18", r"backbones\.visual\.name is 'resnet18'"),
        (
            "audio",
            "name",
            "r2plus1d_18",
            r"backbones\.audio\.name is 'r2plus1d_18': must be one of narrow_resnet, resnet18",
        ),
        (
            "audio",
            "weights",
            "kinetics400",
            r"backbones\.audio\.weights is 'kinetics400': must be random, or a \.safetensors file",
        ),
        (
            "visual",
            "weights",
            "x.pt",
            r"backbones\.visual\.weights is 'x\.pt': must be random, or a \.s",
        ),
    ],
)
def test_networks_and_weights_are_those_of_the_stream(
    values: dict[str, Any], stream: str, key: str, value: str, message: str
) -> None:
    values["backbones"][stream][key] = value
    with pytest.raises(BadInputError, match=message):
        check_params(values)
    values["backbones"][stream] |= {"name": {"audio": "resnet18", "visual": "r2plus1d_18"}[stream], "width": 64}
    values["backbones"][stream] |= {"weights": "imagenet2"}
    with pytest.raises(BadInputError, match=r"must be random, (imagenet|kinetics400), tsav, or a \.safetensors"):
        check_params(values)
    values["backbones"][stream] |= {"weights": "models/mine.safetensors"}
    check_params(values)


@pytest.mark.parametrize(
    ("stream", "key", "value", "message"),
    [
        ("visual", "width", 32, r"backbones\.visual\.width is 32: must be 64, the width of r2plus1d_18"),
        ("audio", "width", 32, r"backbones\.audio\.width is 32: must be 64, the width of resnet18"),
        ("visual", "input_size", 113, r"backbones\.visual\.input_size is 113: must be from 16 to 112 pixels"),
        ("visual", "input_size", 15, r"backbones\.visual\.input_size is 15: must be from 16 to 112 pixels"),
    ],
)
def test_a_shape_that_a_backbone_does_not_have_is_refused_before_anything_runs(
    stream: str, key: str, value: int, message: str
) -> None:
    values = yaml.safe_load((ROOT / "avfusion" / "params" / "presets" / "affwild2.yaml").read_text())
    values["backbones"][stream][key] = value
    with pytest.raises(BadInputError, match=message):
        check_params(values)


def test_parameters_cost_no_heavy_import() -> None:
    script = (
        "import sys, avfusion.params.params; print(sorted({'torch', 'numpy', 'pandas', 'mlflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


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
    for odd in (
        "train: {seed: 2024-99-99}",
        "train: {seed: !!timestamp soon}",
        "train: {seed: !!int many}",
        "train: {seed: !!float much}",
        "train: {seed: !!bool maybe}",
        f"train: {{seed: {'9' * 5000}}}",
        "train: " + "[" * 3000,
        "train: !!python/object/apply:os.system [touch executed]",
        "train: {[a]: b}",
        "train: *nobody",
        "\0",
    ):
        (tmp_path / "params.yaml").write_text(odd)
        with pytest.raises(BadInputError, match=r"params\.yaml is not YAML: .") as caught:
            load_params(tmp_path / "params.yaml")
        assert "\n" not in str(caught.value)
    (tmp_path / "params.yaml").write_text("train:\n  epochs: 5\n  lr: 0.1\n  epochs: 9\n")
    with pytest.raises(BadInputError, match=r"is not YAML: epochs is there twice in .*, line 4, column 3"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_bytes(b"train: \xff")
    with pytest.raises(BadInputError, match="is not YAML"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(BadInputError, match=r"folder\.yaml cannot be read: Is a directory"):
        load_params(tmp_path / "folder.yaml")
    (tmp_path / "params.yaml").write_text("just text")
    with pytest.raises(BadInputError, match="found str"):
        load_params(tmp_path / "params.yaml")
    del values["train"]
    with pytest.raises(BadInputError, match="section train is missing"):
        check_params(values)


LAUGHS = "a: &a [x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in itertools.pairwise("abcdefghij")
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LAUGHS, "values"),
        ("corpus: &a [*a]\n", "values"),
        ("corpus: [" + "x," * 300_000 + "]\n", "more than 64 kB"),
    ],
    ids=["aliases of aliases", "an alias of itself", "a long list"],
)
def test_settings_that_nobody_writes_are_refused_at_once(tmp_path, text, words):
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(BadInputError, match=words) as caught:
        load_params(tmp_path / "params.yaml")
    assert len(str(caught.value)) < 300


def test_an_alias_may_stand_for_a_value(tmp_path):
    written = (ROOT / "params.yaml").read_text().replace("threads: 1", "threads: &one 1", 1)
    (tmp_path / "params.yaml").write_text(written.replace("workers: 2", "workers: *one"))
    assert load_params(tmp_path / "params.yaml").execution.workers == 1


@pytest.mark.parametrize(
    ("section", "key", "what"),
    [
        ("evaluate", "bootstrap", "delete the line"),
        ("evaluate", "smoothing_valence", r"write evaluate.smoothing_valence_s, .* frames / 30 \(published: 0.667\)"),
        ("evaluate", "smoothing_arousal", r"write evaluate.smoothing_arousal_s, .* frames / 30 \(published: 1.667\)"),
    ],
)
def test_a_key_of_an_earlier_version_says_what_to_do(section: str, key: str, what: str) -> None:
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    values[section][key] = 20
    with pytest.raises(BadInputError, match=rf"{section}\.{key} is no key any more, since .*: .*{what}"):
        check_params(values)
