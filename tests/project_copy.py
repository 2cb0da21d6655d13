"""A copy of the project as it lies here, in a git repository of its own, and commands run there."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OURS = ("AVFUSION_", "DVC_", "MLFLOW_")
PERSON = {"GIT_AUTHOR_NAME": "test", "GIT_AUTHOR_EMAIL": "test@localhost"}
PERSON |= {name.replace("AUTHOR", "COMMITTER"): value for name, value in PERSON.items()}


@dataclass(frozen=True)
class Finished:
    """A command that ended: its exit code, and both streams of its output together."""

    code: int
    output: str

    @property
    def stages(self) -> list[str]:
        """The stages that DVC ran."""
        started = [line for line in self.output.splitlines() if line.startswith("Running stage '")]
        return [line.split("'")[1] for line in started]


class ProjectCopy:
    """A project in a folder of its own; the package is imported from there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        binaries = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        self.variables = {key: value for key, value in os.environ.items() if not key.startswith(OURS)}
        self.variables |= PERSON | {"PYTHONPATH": str(folder), "PATH": binaries}

    @classmethod
    def of_working_tree(cls, folder: Path) -> "ProjectCopy":
        """Copy what git knows or would take, uncommitted changes included, and commit it."""
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, folder / name)
        copy = cls(folder)
        copy.must("git", "init", "--quiet")
        copy.commit()
        return copy

    def clone(self, folder: Path) -> "ProjectCopy":
        """A fresh clone of the last commit."""
        self.must("git", "clone", "--quiet", str(self.folder), str(folder))
        return ProjectCopy(folder)

    def commit(self) -> None:
        """Commit everything."""
        self.must("git", "add", "--all")
        self.must("git", "commit", "--quiet", "--message", "as it is")

    def run(self, *command: str) -> Finished:
        """Run a command in the folder."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        return Finished(done.returncode, done.stdout)

    def must(self, *command: str) -> Finished:
        """Run a command that has to succeed."""
        done = self.run(*command)
        assert done.code == 0, f"{' '.join(command)} ended with {done.code}: {done.output[-3000:]}"
        return done
