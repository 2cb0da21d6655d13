"""The server under load keeps what its benchmark claims."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_a_hundred_uploads_are_answered_and_leave_nothing() -> None:
    script = Path(__file__).parents[2] / "benchmarks" / "bench_serve.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "80 x 200, 18 x 400, 2 x 413" in done.stdout
