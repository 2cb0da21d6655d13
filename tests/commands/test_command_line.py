"""Help, versions and shell completion, each as a real process."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import avfusion
from avfusion.cli import app
from avfusion.commands.completion import STAGES

COMMAND = Path(sys.executable).with_name("avfusion")
COMMANDS = [command.name for command in app.registered_commands]
COMPLETING = """
eval "$({command} --show-completion)"
COMP_WORDS=({words}) COMP_CWORD={last}
_avfusion_completion {command}
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def told(*arguments: object) -> str:
    return subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True, check=True).stdout


def completed(project: Path, *words: str) -> list[str]:
    """What bash offers for the last word of a command line."""
    quoted = " ".join(f"'{word}'" for word in ("avfusion", *words))
    script = COMPLETING.format(command=COMMAND, words=quoted, last=len(words))
    done = subprocess.run(["bash", "--norc", "-c", script], cwd=project, capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize("command", COMMANDS)
def test_flags_have_no_type(command: str) -> None:
    shown = told(command, "--help")
    assert "--help" in shown
    assert "<bool>" not in shown
    assert "BOOLEAN" not in shown


def test_the_group_has_flags_too() -> None:
    assert "<bool>" not in told("--help")


def test_version() -> None:
    python = ".".join(map(str, sys.version_info[:3]))
    assert told("--version") == f"avfusion {avfusion.__version__}, Python {python}, torch {version('torch')}\n"
    assert version("avfusion") == avfusion.__version__


def test_version_imports_no_torch() -> None:
    script = (
        "import sys\nsys.argv = ['avfusion', '--version']\nimport avfusion.cli as c\n"
        "try:\n    c.main()\nexcept SystemExit:\n    pass\nprint('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_bash_completes(tmp_path: Path) -> None:
    for folder in ("fusion", "baselines/concat", "backbones"):
        (tmp_path / "models" / folder).mkdir(parents=True)
    for folder in ("fusion", "baselines/concat"):
        (tmp_path / "models" / folder / "config.json").touch()
    assert completed(tmp_path, "pre") == ["predict", "preset"]
    assert completed(tmp_path, "predict", "--dev") == ["--device"]
    assert completed(tmp_path, "preset", "aff") == ["affwild2", "affwild2-tsav"]
    assert completed(tmp_path, "vouch", "f") == ["frames", "features"]
    assert completed(tmp_path, "check-model", "j") == ["jca"]
    assert completed(tmp_path, "compare", "--models", "jca,c") == ["jca,concat", "jca,cross_attention"]
    assert completed(tmp_path, "crossval", "--models", "jca,j") == [], "given already"
    assert completed(tmp_path, "serve", "--device", "") == ["auto", "cpu", "cuda"]
    assert completed(tmp_path, "predict", "--model", "mod") == ["models/baselines/concat", "models/fusion"]
    assert completed(tmp_path, "predict", "--people", "") == ["main", "all"]
    assert completed(tmp_path, "predict", "clip") == [], "then bash completes files by itself"


@pytest.mark.parametrize(
    ("shell", "line"),
    [
        ("zsh", {"_TYPER_COMPLETE_ARGS": "avfusion preset aff"}),
        ("fish", {"_TYPER_COMPLETE_ARGS": "avfusion preset aff", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}),
    ],
)
def test_other_shells_complete(shell: str, line: dict[str, str]) -> None:
    environment = os.environ | {"_AVFUSION_COMPLETE": f"complete_{shell}"} | line
    done = subprocess.run([COMMAND], env=environment, capture_output=True, text=True)
    assert "affwild2-tsav" in done.stdout
    assert "demo" not in done.stdout


def test_completion_is_asked_for_no_version() -> None:
    environment = os.environ | {"_AVFUSION_COMPLETE": "complete_bash", "COMP_CWORD": "2"}
    environment |= {"COMP_WORDS": "avfusion\n--version\npre"}
    done = subprocess.run([COMMAND], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["predict", "preset"]


def test_completed_stages_are_those_that_vouch_knows() -> None:
    from avfusion.experiments import vouch

    assert tuple(vouch.STAGES) == STAGES
