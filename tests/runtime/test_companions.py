"""A compiled package that does not fit the torch beside it: here one with a symbol that nobody defines."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from avfusion.runtime.companions import load_fault

INIT = "import ctypes, pathlib\nctypes.CDLL(str(pathlib.Path(__file__).with_name('lib.so')), mode=ctypes.RTLD_GLOBAL)\n"


@pytest.fixture
def companion(tmp_path: Path) -> Path:
    """A folder with the package `torchcompanion` 2.11.1, built for torch 1.0.0, as far as its metadata says."""
    package, facts = tmp_path / "torchcompanion", tmp_path / "torchcompanion-2.11.1.dist-info"
    package.mkdir()
    facts.mkdir()
    (tmp_path / "lib.c").write_text("extern int of_another_torch; int *used = &of_another_torch;\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", package / "lib.so", tmp_path / "lib.c"], check=True)
    (package / "__init__.py").write_text(INIT)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: torchcompanion\nVersion: 2.11.1\n")
    return tmp_path


def fault_in(folder: Path) -> str:
    script = "from avfusion.runtime.companions import load_fault\nprint(load_fault('torchcompanion'))"
    paths = os.pathsep.join([str(folder), str(Path(__file__).parents[2])])
    environment = os.environ | {"PYTHONPATH": paths}
    return subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_a_package_that_does_not_load_is_named_with_the_torch_beside_it(companion: Path) -> None:
    told = fault_in(companion)
    assert told.startswith(f"torchcompanion 2.11.1 does not load beside torch {version('torch')} (")
    assert "undefined symbol: of_another_torch" in told
    assert told.endswith(": pip install --force-reinstall 'torchcompanion==2.11.1'")
    with (companion / "torchcompanion-2.11.1.dist-info" / "METADATA").open("a") as metadata:
        metadata.write("Requires-Dist: torch==1.0.0\n")
    assert fault_in(companion).endswith(": pip install 'torch==1.0.0'")


def test_a_package_that_loads_or_is_missing() -> None:
    assert load_fault("torch") == load_fault("opencv-python-headless", "cv2") == ""
    assert "no-such-package (not installed) does not load" in load_fault("no-such-package", "no_such_package")
