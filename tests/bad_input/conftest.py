"""A small corpus of real videos in a project of its own, and its stages run as DVC runs them."""

import importlib.util
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from avfusion.cli import main as command
from tests.fuzz.media_seeds import media_seeds

SOURCE = Path(__file__).parents[2]
VA = "valence,arousal\n" + "0.1,0.2\n" * 12


@dataclass(frozen=True)
class Done:
    """How a stage or command ended."""

    code: int
    out: str
    error: str


@dataclass(frozen=True)
class Project:
    """A project on an Aff-Wild2-shaped corpus with three tracks of 12 frames: `a` and `b` to train, `c` to validate."""

    root: Path
    corpus: Path
    run: Callable[[str], Done]
    avfusion: Callable[..., Done]

    def set(self, section: str, **values: object) -> None:
        """Change keys of params.yaml."""
        params = yaml.safe_load((self.root / "params.yaml").read_text())
        params[section] |= values
        (self.root / "params.yaml").write_text(yaml.safe_dump(params))

    def video(self, name: str) -> Path:
        """A video of the corpus."""
        return self.corpus / "videos" / f"{name}.mp4"

    def labels(self, name: str) -> Path:
        """An annotation file of the corpus."""
        split = "Validation_Set" if name == "c" else "Train_Set"
        return self.corpus / "annotations" / "VA_Set" / split / f"{name}.txt"


@pytest.fixture(scope="session")
def videos() -> dict[str, bytes]:
    """Tiny videos of all kinds."""
    return media_seeds()


@pytest.fixture
def project(
    tmp_path: Path,
    videos: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Project:
    """The project; the working directory."""
    root = tmp_path / "project"
    root.mkdir()
    shutil.copyfile(SOURCE / "params.yaml", root / "params.yaml")
    (root / "dvc.yaml").write_text("stages: {}\n")
    monkeypatch.chdir(root)

    def ended(function: Callable[[], None]) -> Done:
        capsys.readouterr()
        code = 0
        try:
            function()
        except SystemExit as end:
            code = int(end.code or 0)
        monkeypatch.chdir(root)
        printed = capsys.readouterr()
        assert "Traceback" not in printed.out + printed.err
        return Done(code, printed.out, printed.err)

    def run(stage: str) -> Done:
        script = SOURCE / "pipelines" / f"{stage}.py"
        spec = importlib.util.spec_from_file_location(f"stage_{stage}", script)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return ended(module.main)

    def avfusion(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["avfusion", *map(str, arguments)])
        return ended(command)

    made = Project(root, tmp_path / "corpus", run, avfusion)
    for name in "abc":
        for path, content in ((made.video(name), videos["h264.mp4"]), (made.labels(name), VA.encode())):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    made.set("corpus", name="affwild2", root=str(made.corpus))
    made.set("execution", executor="serial", workers=1)
    return made
