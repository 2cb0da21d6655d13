"""Pages in docs/: commands, options, parameters and files that they name exist."""

import re
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from avfusion.cli import app

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


@pytest.fixture(params=PAGES, ids=lambda page: page.name)
def page(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_commands_and_options_exist(page: Path) -> None:
    group = get_command(app)
    commands, flags = group.commands, {flag for param in group.params for flag in param.opts}
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"(?:^|&& |`)avfusion ([a-z-]+)([^`#\n]*)", text, re.MULTILINE)
    assert found
    for name, rest in found:
        if name.startswith("-"):
            assert name in flags, f"avfusion {name}"
            continue
        assert name in commands, f"avfusion {name}"
        known = {option for param in commands[name].params for option in (*param.opts, *param.secondary_opts)}
        for option in re.findall(r"(?<= )--?[a-z][a-z-]*", rest):
            assert option in known, f"avfusion {name} {option}"


def test_presets_exist(page: Path) -> None:
    for name in re.findall(r"avfusion preset ([a-z0-9]+)", page.read_text(encoding="utf-8")):
        assert (ROOT / "avfusion" / "params" / "presets" / f"{name}.yaml").is_file(), name


def test_parameters_exist(page: Path) -> None:
    for section, key in re.findall(r"`([a-z]+)\.([a-z0-9_]+)(?::[^`]*)?`", page.read_text(encoding="utf-8")):
        if section in PARAMS:
            assert key in PARAMS[section], f"{section}.{key}"


def test_files_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (page.parent / target).is_file(), target
    for target in re.findall(r"`((?:tests|avfusion)/[\w./-]+)`", text):
        assert (ROOT / target).is_file(), target


def test_make_targets_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"(?:^|`|&& )make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
