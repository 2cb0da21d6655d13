"""README: what it tells people to type and to look at exists."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", sorted(set(re.findall(r"\.venv/bin/avfusion ([a-z-]+)", README))))
def test_commands_exist(command: str) -> None:
    done = subprocess.run([sys.executable, "-m", "avfusion.cli", command, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"avfusion.cli {command}" in done.stdout


def test_options_exist() -> None:
    for command, options in re.findall(r"\.venv/bin/avfusion ([a-z-]+)([^\n]*)", README):
        text = subprocess.run(
            [sys.executable, "-m", "avfusion.cli", command, "--help"],
            capture_output=True,
            text=True,
            env={"COLUMNS": "200", "PATH": "/usr/bin:/bin"},
        ).stdout
        for option in re.findall(r"(?<= )--?[a-z]+", options.split("#")[0]):
            assert option in text, f"avfusion {command} {option}"


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`?make ([a-z-]+)`", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_pictures_and_files_exist() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).is_file(), target


def test_stages_are_dvcs() -> None:
    table = README.split("| stage | what it leaves |")[1].split("\n\n")[0]
    named = [name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(named) == sorted(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])


def test_python_example_names_what_the_package_exports() -> None:
    import avfusion

    blocks = "".join(re.findall(r"```python\n(.*?)```", README, re.DOTALL))
    for name in re.findall(r"avfusion\.([A-Za-z_]+)[.(]", blocks):
        assert name in avfusion.__all__, name
    from avfusion import fusion

    for name in set(re.findall(r"avfusion\.fusion\.([A-Za-z_]+)", README)):
        assert name in fusion.__all__, name
