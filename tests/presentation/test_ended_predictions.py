"""Nothing of a person stays behind, however `predict` ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from avfusion import Predictor
from tests.media.conftest import flash_frames, tone, write_media
from tests.project_copy import ROOT

PATIENCE_S = 120


@pytest.fixture
def long_video(tmp_path: Path) -> Path:
    return write_media(tmp_path / "long.mp4", flash_frames(1500, 5), np.arange(1500) / 25, sound=tone(60.0))


def heed_hangups() -> None:
    """Undo `nohup`, in which the tests may run."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@contextmanager
def predicting(model: Path, video: Path, temporary: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A running `predict` that has written something of the video."""
    temporary.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "avfusion.cli", "predict", str(video), "--model", str(model)]
    variables = os.environ | {"TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)}
    command += ["-o", str(temporary.parent / "out")]
    with subprocess.Popen(command, env=variables, preexec_fn=heed_hangups) as process:
        try:
            until = time.monotonic() + PATIENCE_S
            while not any(temporary.glob("avfusion-predict-*/*[!e]")):
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.02)
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_who_is_asked_to_end_tidies_up(trained_models, long_video, tmp_path, number):
    with predicting(trained_models / "fusion", long_video, tmp_path / "tmp") as process:
        process.send_signal(number)
        assert process.wait(PATIENCE_S) == 128 + number
    assert list((tmp_path / "tmp").iterdir()) == []
    assert not (tmp_path / "out").exists()


def test_what_a_killed_one_left_goes_with_the_next(trained_models, long_video, short_video, tmp_path, monkeypatch):
    with predicting(trained_models / "fusion", long_video, tmp_path / "tmp") as process:
        process.kill()
        process.wait(PATIENCE_S)
    (left,) = (tmp_path / "tmp").iterdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    Predictor.load(trained_models / "fusion").predict(short_video)
    assert not left.exists()
    assert list((tmp_path / "tmp").iterdir()) == []
