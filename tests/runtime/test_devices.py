"""A GPU that is there but cannot be used: the driver's library is a small one that answers as old or broken ones do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from avfusion.inference.predictor import Predictor

DRIVER = """
int cuDriverGetVersion(int *version) {{ *version = {version}; return 0; }}
int cuInit(unsigned flags) {{ return {outcome}; }}
"""
needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")


def with_driver(folder: Path, version: int, outcome: int, script: str) -> "subprocess.CompletedProcess[str]":
    source = folder / "driver.c"
    source.write_text(DRIVER.format(version=version, outcome=outcome))
    subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / "libcuda.so.1", source], check=True)
    environment = os.environ | {"LD_LIBRARY_PATH": str(folder)}
    return subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)


CHOOSE = "from avfusion.runtime.devices import *\nprint(default_device(), working_device())"


@needs_compiler
@pytest.mark.skipif(torch.version.cuda is None, reason="this torch knows no GPU")
@pytest.mark.parametrize(
    ("version", "outcome", "reason"),
    [
        (11000, 0, ": The NVIDIA driver on your system is too old (found version 11000)"),
        (13000, 803, ": Error 803: system has unsupported display driver"),
    ],
    ids=["too old", "of another version than its library"],
)
def test_a_gpu_that_cannot_be_used_is_named(tmp_path: Path, version: int, outcome: int, reason: str) -> None:
    done = with_driver(tmp_path, version, outcome, CHOOSE)
    assert done.stdout == "cpu cpu\n"
    assert done.stderr.startswith("note: running on the CPU, since the GPU cannot be used: ")
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1, "once, and in one line"


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without GPU")
def test_no_gpu_is_no_reason_for_a_note() -> None:
    done = subprocess.run([sys.executable, "-c", CHOOSE], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("cpu cpu\n", "")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_is_taken(project: Path) -> None:
    assert Predictor.load(project / "models" / "fusion").device.type == "cuda"
