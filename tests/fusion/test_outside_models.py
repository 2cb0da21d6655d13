"""Models and backbones outside the package: how they are found, and what is said where they cannot be used."""

import re
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
from avfusion.fusion.contract import refuse_outside
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
        ("endless", FUSE.replace("/ 2)", "/ 0)"), "shapes", "predictions are not finite", 2),
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


BROKEN_FORWARD = {
    "narrow": (
        "    def forward(self, audio, visual):\n        return super().forward(audio, visual)\n",
        "TypeError: .*forward\\(\\) got an unexpected keyword argument",
    ),
    "tensor": (
        "    def forward(self, *inputs, **masks):\n        return super().forward(*inputs, **masks).predictions\n",
        "forward returns Tensor, must return a FusionOutput",
    ),
    "single": (
        "    def forward(self, *inputs, **masks):\n        fused = super().forward(*inputs, **masks)\n"
        "        return FusionOutput(fused.predictions[..., :1])\n",
        r"predictions are \(4, 16, 1\) in torch\.float32, must be \(4, 16, 2\)",
    ),
    "refusing": (
        "    def forward(self, *inputs, **masks):\n        raise ValueError('not today')\n",
        "ValueError: not today",
    ),
    "leaving": ("    def forward(self, *inputs, **masks):\n        raise SystemExit(0)\n", "SystemExit: 0"),
    "leaking": (LEAK.format("audio").strip("\n") + "\n", "features of absent audio clips change predictions"),
}
BROKEN_BUILD = {
    "orphan": (
        MODEL.replace("super().__init__(audio_dim, visual_dim, length, encoder_width)", "pass").replace(
            "self.heads = ", "self.numbers = len, "
        ),
        r"__init__ of Mine must call super\(\)\.__init__\(audio_dim, visual_dim, length\)",
    ),
    "early": (
        MODEL.replace("super().__init__(audio_dim, visual_dim, length, encoder_width)", "pass"),
        "cannot be built: AttributeError: cannot assign module before Module.__init__",
    ),
    "quitting": ("import sys\n\nsys.exit(0)\n" + MODEL, "quitting does not import: SystemExit: 0"),
    "quitter": (
        MODEL.replace("        self.scale = scale", "        raise SystemExit(0)"),
        "cannot be built: SystemExit: 0",
    ),
}


@pytest.mark.parametrize("module", BROKEN_FORWARD)
def test_check_model_says_what_a_forward_does_wrong(write: Callable[..., str], module: str) -> None:
    method, said = BROKEN_FORWARD[module]
    found = CliRunner().invoke(app, ["check-model", write(module, f"{MODEL}\n{method}")])
    assert found.exit_code == 2
    assert re.search(rf"^failed .*{said}", found.output, re.MULTILINE), found.output


@pytest.mark.parametrize("module", BROKEN_FORWARD | BROKEN_BUILD)
def test_nothing_is_trained_that_breaks_the_contract(write: Callable[..., str], module: str) -> None:
    text, said = BROKEN_BUILD.get(module) or (f"{MODEL}\n{BROKEN_FORWARD[module][0]}", BROKEN_FORWARD[module][1])
    name = write(module, text)
    with pytest.raises(BadInputError, match=rf"^fusion model '{name}'.*{said}") as raised:
        refuse_outside(name, {"audio_dim": 8, "visual_dim": 8, "length": 16}, {})
    assert "\n" not in str(raised.value)


def test_a_good_model_is_not_refused_and_draws_no_numbers(write: Callable[..., str]) -> None:
    name = write("welcome")
    torch.manual_seed(5)
    before = torch.get_rng_state()
    refuse_outside(name, {"audio_dim": 8, "visual_dim": 6, "length": 4}, {"scale": 0.5})
    refuse_outside(name, {"audio_dim": 8, "visual_dim": 6, "length": 4}, {}, (3, 3))
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(BadInputError, match="scale is -1: must be a number above 0"):
        refuse_outside(name, {"audio_dim": 8, "visual_dim": 6, "length": 4}, {"scale": -1})


@pytest.mark.parametrize("module", BROKEN_BUILD)
def test_check_model_of_a_model_that_cannot_be_built(write: Callable[..., str], module: str) -> None:
    text, said = BROKEN_BUILD[module]
    found = CliRunner().invoke(app, ["check-model", write(module, text)])
    assert isinstance(found.exception, BadInputError)
    assert re.search(said, str(found.exception))


@pytest.mark.timeout(60)
def test_a_class_may_have_the_name_of_its_base(write: Callable[..., str]) -> None:
    write("namesake", "from avfusion.fusion.concat import Concat\n\n\nclass Concat(Concat): ...\n")
    assert fusion_options("namesake:Concat").keys() == fusion_options("concat").keys()
    assert build_fusion("namesake:Concat", audio_dim=5, visual_dim=6).name == "namesake:Concat"


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (("from second_of_two import Mine\n", "from first_of_two import Mine\n"), "first_of_two has no class Mine"),
        (("class Mine(Mine): ...\n", ""), "has no keyword argument audio_dim"),
        (("class Mine(Other): ...\n\n\nclass Other(Mine): ...\n", ""), "has no keyword argument audio_dim"),
        (
            ("from second_of_two import Mine\n\n\nclass Mine(Mine): ...\n", "class Mine(:\n"),
            "second_of_two does not import: SyntaxError",
        ),
    ],
)
def test_classes_that_go_in_circles_are_told(write: Callable[..., str], texts: tuple[str, str], said: str) -> None:
    write("second_of_two", texts[1])
    with pytest.raises(BadInputError, match=said):
        find_fusion(write("first_of_two", texts[0]))


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "value", ["2 ** 10 ** 9", "1.5 + 10 ** 9 ** 9", "len('a' * 10 ** 12)", "BIG * BIG", "2 * [1] * 4"]
)
def test_what_a_default_may_compute_is_bounded(write: Callable[..., str], value: str) -> None:
    with pytest.raises(BadInputError, match="option scale needs a default that is a plain value"):
        find_fusion(write("vast", f"BIG = 2 ** 64\n{MODEL}".replace("Positive = 1.0", f"Positive = {value}")))


def test_a_default_may_be_computed(write: Callable[..., str]) -> None:
    text = f"HALF = 2 ** -1\n{MODEL}".replace("Positive = 1.0", "Positive = 3 * HALF + 2 ** 6 / 4 - 1")
    assert fusion_options(write("computed", text))["scale"].default == 16.5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "the first argument, its name, must be a plain text"),
        ("f'g{1}'", "the first argument, its name, must be a plain text"),
        ("3", "the first argument, its name, must be a plain text"),
        ("*NAMES", "the first argument, its name, must be a plain text"),
        ("'g', about=print", "about must be a plain value"),
        ("'g', **{}", "each argument must be a plain value"),
    ],
)
def test_a_decorator_that_cannot_be_read(write: Callable[..., str], arguments: str, said: str) -> None:
    text = MODEL.replace("class Mine", f"@register_fusion({arguments})\nclass Mine")
    with pytest.raises(BadInputError) as raised:
        find_fusion(write("adorned", text))
    assert str(raised.value) == f"adorned: @register_fusion above class Mine: {said}"


@pytest.mark.parametrize("arguments", ["'g'", "name='g'", "'g' + 'h'", "NAME"])
def test_a_decorator_that_can_be_read(write: Callable[..., str], arguments: str) -> None:
    text = f"from avfusion.fusion.registry import register_fusion\nNAME = 'g'\n{MODEL}"
    name = write("readable", text.replace("class Mine", f"@register_fusion({arguments})\nclass Mine"))
    assert build_fusion(name, audio_dim=5, visual_dim=6).name == name


def test_check_model_of_a_good_model(write: Callable[..., str]) -> None:
    found = CliRunner().invoke(app, ["check-model", write("good")])
    assert [line.split()[0] for line in found.output.splitlines()] == ["ok"] * 13
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
        (("super().__init__()", "raise SystemExit(0)"), "'flat_backbone:Flat' cannot be built: SystemExit: 0"),
        (("from torch import nn", "from torch import nn\nraise SystemExit"), "does not import: SystemExit"),
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
