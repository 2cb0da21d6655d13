import os
import subprocess
import sys
from pathlib import Path

import pytest

from avfusion.tracking.origin import provisional_origin

ROOT = Path(__file__).parents[2]
STAGE = """stages:
  show:
    cmd: python show.py
    params: [lr]
    outs: [origin.txt: {cache: false}]
"""
SCRIPT = """from pathlib import Path
from avfusion.tracking.origin import provisional_origin
Path("origin.txt").write_text(provisional_origin(Path.cwd()) or "nothing")
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [(), ("--temp",)])
def test_an_experiment_of_dvc_is_known_in_the_workspace_and_elsewhere(how: tuple[str, ...], tmp_path: Path) -> None:
    person = {f"GIT_{role}_{what}": "a@b.c" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    binaries = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    variables = os.environ | person | {"PATH": binaries, "PYTHONPATH": str(ROOT), "DVC_NO_ANALYTICS": "1"}

    def must(*command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    must("git", "init", "--quiet")
    must("dvc", "init", "--quiet")
    for name, text in (("dvc.yaml", STAGE), ("show.py", SCRIPT), ("params.yaml", "lr: 1\n")):
        (tmp_path / name).write_text(text)
    must("git", "add", "--all")
    must("git", "commit", "--quiet", "--message", "start")
    must("dvc", "repro", "--quiet")
    assert (tmp_path / "origin.txt").read_text() == "nothing"
    must("git", "add", "--all")
    must("git", "commit", "--quiet", "--message", "run")
    must("dvc", "exp", "run", "--quiet", "--set-param", "lr=2", "--name", "probe", *how)
    must("dvc", "exp", "apply", "probe")
    assert (tmp_path / "origin.txt").read_text() == "made by the experiment probe of `dvc exp run`"


def test_without_git_all_is_committed(tmp_path: Path) -> None:
    assert provisional_origin(tmp_path) == ""
