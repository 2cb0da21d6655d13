"""What a command says whose extra is not installed, in a process that cannot import the package."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from avfusion.runtime.extras import EXTRA_OF, MissingExtraError, extra_requirements, missing_extra, require_extra

ROOT = Path(__file__).parents[2]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
WITHOUT = """
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in HIDDEN else PathFinder.find_spec(name, path, target)

HIDDEN = set(sys.argv.pop(1).split(","))
sys.meta_path[:] = [Without if finder is PathFinder else finder for finder in sys.meta_path]
from avfusion.cli import main
main()
"""


def test_an_extra_brings_what_the_project_declares() -> None:
    assert {*EXTRA_OF.values(), "all", "dev"} == set(EXTRAS)
    for extra in set(EXTRA_OF.values()):
        declared = {re.split(r"[><=\[]", text)[0] for text in EXTRAS[extra]} - {"avfusion"}
        assert {re.split(r"[><=]", text)[0] for text in extra_requirements(extra, as_metadata())} == declared


def as_metadata() -> list[str]:
    return ["numpy>=2", *(f'{text}; extra == "{extra}"' for extra, texts in EXTRAS.items() for text in texts)]


def test_only_modules_of_extras_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing_extra(ModuleNotFoundError("No module named 'nothing'", name="nothing")) is None
    found = missing_extra(ModuleNotFoundError("No module named 'optuna.trial'", name="optuna.trial"))
    assert str(found).startswith("optuna is not installed; it is part of avfusion's extra [sweep]: `")
    require_extra("av", "numpy")
    monkeypatch.setitem(EXTRA_OF, "not_there", "serve")
    with pytest.raises(MissingExtraError, match=r"^not_there is not installed; .* avfusion's extra \[serve\]: `"):
        require_extra("numpy", "not_there")


@pytest.mark.parametrize(
    ("arguments", "hidden", "extra"),
    [
        (("sweep",), "optuna", "sweep"),
        (("serve",), "uvicorn", "serve"),
        (("register",), "mlflow", "track"),
    ],
)
def test_a_command_names_its_missing_extra(tmp_path: Path, arguments: tuple[str, ...], hidden: str, extra: str) -> None:
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, hidden, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith(f"error: {hidden} is not installed; it is part of avfusion's extra [{extra}]: `")
    assert done.stderr.count("\n") == 1


def test_help_and_prediction_need_no_extra(tmp_path: Path, trained_models: Path, face_video: Path) -> None:
    hidden = ",".join(EXTRA_OF)
    arguments = ["predict", str(face_video), "--model", str(trained_models / "fusion"), "-o", str(tmp_path)]
    for command in (["--help"], arguments):
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT, hidden, *command], cwd=tmp_path, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("*.csv"))) == 1
