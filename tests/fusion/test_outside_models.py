"""Models and backbones outside the package: how they are found, and what is said where they cannot be used."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from typer.testing import CliRunner

from avfusion.backbones.registry import build_backbone
from avfusion.cli import app
from avfusion.fusion.catalogue import find_fusion, fusion_module, fusion_names, fusion_options
from avfusion.fusion.files import load_fusion, save_fusion
from avfusion.fusion.model_folder import ModelFolder
from avfusion.fusion.registry import build_fusion
from avfusion.params.params import check_params
from avfusion.runtime.code_digest import code_digest, existing_file, import_closure
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.registered import entry_point_classes
from avfusion.tracking.model import outside_code
from tests.conftest import write_model

ROOT = Path(__file__).parents[2]
MODEL = '''"""A model."""

from avfusion.fusion.base import FusionOutput, RegressionHeads, TwoStreamModel
from avfusion.runtime.settings import Count, Positive, Share

WIDTH = 16


class Mine(TwoStreamModel):
    """Mean of both encodings."""

    def __init__(
        self, *, audio_dim: int = 512, visual_dim: int = 512, length: int = 16,
        encoder_width: Count = WIDTH, scale: Positive = 1.0, dropout: Share = 0.6,
    ) -> None:
        super().__init__(audio_dim, visual_dim, length, encoder_width)
        self.scale = scale
        self.heads = RegressionHeads(encoder_width, dropout=dropout, relu=True)

    def fuse_encoded(self, x_a, x_v, valid):
        return FusionOutput(self.heads(self.scale * (x_a + x_v) / 2), x_a, x_v)
'''
LEAK = """

    def forward(self, audio, visual, *masks, **named):
        fused = super().forward(audio, visual, *masks, **named)
        fused.predictions = fused.predictions + {}.mean(dim=(1, 2))[:, None, None]
        return fused
"""
FUSE = "FusionOutput(self.heads(self.scale * (x_a + x_v) / 2), x_a, x_v)"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes a module into a folder that modules are imported from, which are forgotten again."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def write_module(name: str, text: str = MODEL) -> str:
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        return f"{name}:Mine"

    yield write_module
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]
    existing_file.cache_clear()
    entry_point_classes.cache_clear()


def params(model: str, **train: object) -> dict[str, Any]:
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["train"] |= {"model": model, "options": {}, **train}
    return values


def test_options_are_those_of_the_signature(write: Callable[..., str]) -> None:
    name = write("signed")
    assert {key: option.default for key, option in find_fusion(name).arguments.items()} == {
        "audio_dim": 512, "visual_dim": 512, "length": 16, "encoder_width": 16, "scale": 1.0, "dropout": 0.6
    }  # fmt: skip
    assert check_params(params(name, options={"scale": 0.5})).train.model == name
    assert "signed" not in sys.modules
    model = build_fusion(name, audio_dim=5, visual_dim=6, scale=0.5)
    assert model.config() == {
        "name": name, "audio_dim": 5, "visual_dim": 6, "length": 16, "encoder_width": 16, "scale": 0.5, "dropout": 0.6
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"scale": 0}, r"train\.options\.scale is 0: must be a number above 0"),
        ({"k": 3}, r"train\.options\.k is 3: faulty:Mine has no such option: must be one of encoder_width, scale"),
        ({"dropout": 0.1}, r"train\.options\.dropout is 0\.1: .*\(it is train\.dropout\)"),
    ],
)
def test_options_are_checked_before_anything_runs(
    write: Callable[..., str], options: dict[str, object], said: str
) -> None:
    with pytest.raises(BadInputError, match=said):
        check_params(params(write("faulty"), options=options))


def test_a_sweep_searches_the_options_of_a_model_from_outside(write: Callable[..., str]) -> None:
    name = write("swept")
    for space in ({"scale": [0.5, 2.0]}, {"model": [name, "jca"], "scale": {"low": 0.5, "high": 2}}):
        check_params(params(name) | {"sweep": {"space": space}})
    with pytest.raises(BadInputError, match=r"sweep\.space\.scale is -1: must be a number above 0"):
        check_params(params(name) | {"sweep": {"space": {"scale": [-1, 1]}}})


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "nowhere:Mine",
            None,
            "nowhere does not import: ModuleNotFoundError: No module named 'nowhere'; a module must",
        ),
        ("named:Other", MODEL, "named has no class Other"),
        ("broken:Mine", "class Mine(:\n", "broken does not import: SyntaxError: invalid syntax"),
        ("typeless:Mine", MODEL.replace("scale: Positive", "scale"), "option scale has no type: must be bool, int, "),
        (
            "strange:Mine",
            MODEL.replace("scale: Positive", "scale: list[int]"),
            "option scale is of type list[int], which is not understood: must be bool, int, ",
        ),
        ("asked:Mine", MODEL.replace("Positive = 1.0", "Positive"), "option scale needs a default"),
        (
            "low:Mine",
            MODEL.replace("Positive = 1.0", "Positive = 0"),
            "option scale has the default 0: must be a number",
        ),
        ("loose:Mine", MODEL.replace("self, *, audio_dim", "self, audio_dim"), "must be keyword arguments with a name"),
        ("sizeless:Mine", MODEL.replace("length: int = 16,", ""), "__init__ of Mine has no keyword argument length"),
        ("no_class", None, "must be one of concat, "),
        ("a b:Mine", None, "'a b:Mine' is not of the form package.module:Class"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(
    write: Callable[..., str], name: str, text: str | None, said: str
) -> None:
    if text is not None:
        write(name.partition(":")[0], text)
    for check in (lambda: check_params(params(name)), lambda: build_fusion(name)):
        with pytest.raises(BadInputError) as raised:
            check()
        assert said in str(raised.value)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("module", "text", "said"),
    [
        ("raising", "raise OSError('no licence')\n" + MODEL, "raising does not import: OSError: no licence"),
        ("alien", MODEL.replace("(TwoStreamModel)", ""), "must derive from avfusion.fusion.base.FusionModel"),
    ],
)
def test_what_shows_at_import_is_said_in_one_line(write: Callable[..., str], module: str, text: str, said: str) -> None:
    with pytest.raises(BadInputError) as raised:
        build_fusion(write(module, text))
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("module", "fuse", "check", "said", "code"),
    [
        (
            "thin",
            FUSE.replace(") / 2)", ") / 2)[..., :1]"),
            "shapes",
            "predictions are (4, 16, 1), must be (4, 16, 2)",
            2,
        ),
        ("none", "None", "shapes", "`fuse` returns NoneType, must return a FusionOutput", 2),
        ("leaky", FUSE + LEAK.format("audio"), "padded clips", "padded clips change the predictions of others", 2),
        ("heedless", FUSE + LEAK.format("audio"), "absent clips", "features of absent audio clips change pred", 2),
        ("mixing", FUSE.replace("/ 2)", "/ 2 + x_a.mean())"), "batch", "depend on the", 2),
        ("deaf", FUSE.replace("x_a + x_v", "2 * x_v + 0 * x_a"), "gradients", "no gradient reaches", 1),
        (
            "moody",
            FUSE.replace("/ 2)", "/ 2 + 1e-3 * __import__('torch').rand(()))"),
            "evaluation",
            "two evaluations differ",
            2,
        ),
        ("stuck", FUSE.replace("/ 2)", "/ 2e6)"), "overfit", "CCC on four small tracks is ", 1),
    ],
)
def test_check_model_finds(write: Callable[..., str], module: str, fuse: str, check: str, said: str, code: int) -> None:
    found = CliRunner().invoke(app, ["check-model", write(module, MODEL.replace(FUSE, fuse))])
    failed = [line for line in found.output.splitlines() if line.startswith("failed")]
    assert any(line[7:24].strip() == check and said in line for line in failed), found.output
    assert found.exit_code == code


def test_check_model_of_a_good_model(write: Callable[..., str]) -> None:
    found = CliRunner().invoke(app, ["check-model", write("good")])
    assert [line.split()[0] for line in found.output.splitlines()] == ["ok"] * 12
    assert found.exit_code == 0


def test_its_code_is_digested_like_the_packages_own(write: Callable[..., str]) -> None:
    name = write("digested", MODEL.replace("WIDTH = 16", "from beside import WIDTH"))
    write("beside", "WIDTH = 16\n")
    assert {"digested", "beside", "avfusion.fusion.base"} <= import_closure([fusion_module(name)]).keys()
    assert "avfusion.fusion.jca" not in import_closure([fusion_module(name)])
    found = [code_digest(["digested"])]
    for text in ("WIDTH = 16  # narrow\n", "WIDTH = 32\n"):
        write("beside", text)
        found.append(code_digest(["digested"]))
    assert found[0] == found[1] != found[2]


def test_a_model_in_the_projects_folder_own_is_digested_and_taken_along(
    write: Callable[..., str], tmp_path: Path
) -> None:
    """A folder without `__init__`; other folders on the path may have one of the same name."""
    (tmp_path / "own").mkdir()
    name = write("own/gated", MODEL.replace("WIDTH = 16", "from .sizes import WIDTH"))
    write("own/sizes", "from beside_own import SHARE\n\nWIDTH = 16\nLESS = WIDTH * SHARE\n")
    write("own/unrelated", "WIDTH = 16\n")
    write("beside_own", "SHARE = 0.5\n")
    name = name.replace("/", ".")
    closure = import_closure([fusion_module(name)]).keys()
    assert {"own.gated", "own.sizes", "beside_own", "avfusion.fusion.base"} <= closure
    assert "own.unrelated" not in closure
    assert fusion_options(name)["encoder_width"].default == 16
    save_fusion(tmp_path / "fusion", build_fusion(name, audio_dim=12, visual_dim=4), {})
    assert load_fusion(tmp_path / "fusion")[0].name == name
    model = ModelFolder.open(write_model(tmp_path / "models", name=name))
    assert outside_code(model) == [tmp_path / "beside_own.py", tmp_path / "own"]


def test_names_taken_from_a_package_lead_to_the_modules_that_define_them(write: Callable[..., str]) -> None:
    write("short", "from avfusion.fusion import FusionModel\n\nclass Mine(FusionModel): ...\n")
    closure = import_closure(["short"])
    assert "avfusion.fusion.base" in closure
    assert not {"avfusion.fusion", "avfusion.fusion.published"} & closure.keys()


def test_an_installed_package_publishes_a_model_by_name(write: Callable[..., str], tmp_path: Path) -> None:
    write("published_model")
    (tmp_path / "published-1.0.dist-info").mkdir()
    (tmp_path / "published-1.0.dist-info" / "METADATA").write_text("Name: published\nVersion: 1.0\n")
    points = "[avfusion.fusion]\nmean = published_model:Mine\n"
    (tmp_path / "published-1.0.dist-info" / "entry_points.txt").write_text(points)
    entry_point_classes.cache_clear()
    assert fusion_names()[-1] == "mean"
    assert fusion_module("mean") == "published_model"
    model = build_fusion("mean", audio_dim=5, visual_dim=6)
    save_fusion(tmp_path / "model", model, {})
    assert load_fusion(tmp_path / "model")[0].name == "mean"
    (tmp_path / "published-1.0.dist-info" / "entry_points.txt").unlink()
    entry_point_classes.cache_clear()
    assert load_fusion(tmp_path / "model")[0].name == "published_model:Mine", "its source alone is enough"


def test_a_saved_model_needs_its_module(write: Callable[..., str], tmp_path: Path) -> None:
    model = build_fusion(write("saved"), audio_dim=5, visual_dim=6).eval()
    save_fusion(tmp_path / "model", model, {})
    again, config = load_fusion(tmp_path / "model")
    assert config["fusion"]["name"] == "saved:Mine"
    audio, visual = torch.randn(2, 16, 5), torch.randn(2, 16, 6)
    assert torch.equal(again(audio, visual).predictions, model(audio, visual).predictions)
    (tmp_path / "saved.py").unlink()
    del sys.modules["saved"]
    existing_file.cache_clear()
    with pytest.raises(BadInputError, match=r"model: .*saved does not import: ModuleNotFoundError.*on PYTHONPATH"):
        load_fusion(tmp_path / "model")


def test_a_config_with_an_option_that_is_no_more(write: Callable[..., str], tmp_path: Path) -> None:
    save_fusion(tmp_path / "model", build_fusion(write("older"), audio_dim=5, visual_dim=6), {})
    config = tmp_path / "model" / "config.json"
    config.write_text(config.read_text().replace('"scale"', '"factor"'))
    with pytest.raises(BadInputError, match=r"older:Mine has no option factor: its options are encoder_width, scale"):
        load_fusion(tmp_path / "model")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('stream = "visual"', "x = 1"), "class Flat has no attribute stream"),
        (('stream = "visual"', 'stream = "audio"'), "class Flat is a backbone of the audio stream"),
        (("width: Count = 8, ", ""), "__init__ of Flat has no keyword argument width"),
        (("(nn.Module)", ""), "must derive from torch.nn.Module"),
    ],
)
def test_a_backbone_that_cannot_be_used(write: Callable[..., str], change: tuple[str, str], said: str) -> None:
    text = (
        "from torch import nn\nfrom avfusion.runtime.settings import Count\n\n\nclass Flat(nn.Module):\n"
        '    stream = "visual"\n    features = (2, "width")\n\n'
        '    def __init__(self, *, width: Count = 8, input_size: Count = 56, output: str = "pooled"):\n'
        "        super().__init__()\n"
    )
    write("flat_backbone", text.replace(*change))
    with pytest.raises(BadInputError) as raised:
        build_backbone("flat_backbone:Flat", stream="visual", width=8, input_size=56)
    assert said in str(raised.value)
