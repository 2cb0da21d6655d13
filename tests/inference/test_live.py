"""Predicting a video while it is shown: the values of causal `predict`, in order, with their latencies."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avfusion import Predictor
from avfusion.cli import main
from avfusion.inference.live import LiveValue, _Watcher, predict_live
from avfusion.inference.playback import Moment
from avfusion.runtime.errors import BadInputError, UnusableModelError
from tests.inference.test_analysis import face, pictures
from tests.media.conftest import tone, write_media


@pytest.fixture(scope="module")
def predictor(trained_models: Path) -> Predictor:
    return Predictor.load(trained_models / "fusion")


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 fps on a clock of 25; no face in the middle, sound from 0.4 s to 2 s, at 48 kHz."""
    frames = [frame * (not 15 <= i < 60) for i, frame in enumerate(pictures(face()) + pictures(face()))]
    path = tmp_path_factory.mktemp("live") / "uneven.mp4"
    options = {"sound": tone(1.6, 48000, 2), "rate": 48000, "sound_at_s": 0.4}
    return write_media(path, frames, np.arange(100) / 24, **options)


def watched(predictor: Predictor, path: Path, **options: object) -> list[LiveValue]:
    values: list[LiveValue] = []
    predict_live(predictor, path, values.append, realtime=False, **options)  # type: ignore[arg-type]
    return values


@pytest.mark.parametrize("stride", [8, 2])
@pytest.mark.parametrize("video", ["face_video", "uneven", "faceless_video", "silent_video"])
def test_values_are_those_of_causal_predict(
    predictor: Predictor, video: str, stride: int, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(video)
    values = watched(predictor, path, stride=stride)
    table = predictor.predict(path, mode="causal", stride=stride)
    ticks = np.arange(len(values)) * stride
    clips = np.array([(value.valence, value.arousal) for value in values])
    positions = table["time_s"].to_numpy() * 25
    assert ticks[-1] <= positions[-1] < ticks[-1] + stride
    for column, name in enumerate(("valence", "arousal")):
        expected = np.interp(positions, ticks, clips[:, column])
        np.testing.assert_allclose(table[name], expected, atol=1e-5)
    rows = [value.frame - 1 for value in values]
    assert [value.time_s for value in values] == pytest.approx(table["time_s"].to_numpy()[rows])
    for name in ("audio_present", "visual_present"):
        assert [getattr(value, name) for value in values] == table[name].to_numpy()[rows].tolist()


def test_what_cannot_be_shown_is_an_error(predictor: Predictor, empty_video: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"empty\.mp4: no clip of it has a face or sound"):
        watched(predictor, empty_video)
    with pytest.raises(BadInputError, match=r"none\.mp4 does not exist"):
        watched(predictor, tmp_path / "none.mp4")
    with pytest.raises(BadInputError, match="stride is 5"):
        watched(predictor, empty_video, stride=5)


def test_a_clip_that_waited_too_long_is_dropped_and_those_after_it_go_on(predictor: Predictor) -> None:
    now = time.monotonic()
    values: list[LiveValue] = []
    watcher = _Watcher(predictor, 8, values.append, realtime=True)
    watcher.summary.period_s = 1000.0
    moment = Moment(1, 0.0, None, np.ones(1000, np.int16), now, now)
    for index in range(25):  # clips end at frames 1, 9, 17, 25
        waited = 2000.0 if index in (8, 24) else 0.0
        watcher.shown(replace(moment, frame=index + 1, time_s=index / 25, shown_at=now - waited, sent_at=now - waited))
    summary = watcher.summary
    assert ([value.frame for value in values], summary.clips, summary.dropped) == ([1, 17], 4, 2)
    assert summary.late == 0
    summary.latencies_s[0] = 1001.0
    assert summary.late == 1


def test_in_real_time_frames_are_not_shown_before_they_are_due(predictor: Predictor, silent_video: Path) -> None:
    values: list[LiveValue] = []
    started = time.monotonic()
    summary = predict_live(predictor, silent_video, values.append, realtime=True)
    assert time.monotonic() - started >= 2.56, "frame 65 is due 2.56 s after the first"
    assert summary.clips == 9
    assert len(values) + summary.dropped == 9
    assert all(value.latency_s > 0 for value in values)
    assert summary.period_s == pytest.approx(0.32)


def test_ctrl_c_ends_with_the_summary(predictor: Predictor, face_video: Path) -> None:
    seen: list[LiveValue] = []

    def interrupt(value: LiveValue) -> None:
        seen.append(value)
        if len(seen) == 3:
            raise KeyboardInterrupt

    summary = predict_live(predictor, face_video, interrupt, realtime=False)
    assert summary.interrupted
    assert (len(seen), len(summary.latencies_s)) == (3, 3)


def test_features_that_are_not_finite_are_an_error(trained_models: Path, face_video: Path) -> None:
    import torch

    predictor = Predictor.load(trained_models / "fusion")
    with torch.no_grad():
        for weights in predictor._extractor._networks["visual"].parameters():
            weights.mul_(1e4)
    with pytest.raises(UnusableModelError, match=r"weights overflow: visual feature of clip 1 is .* in this video$"):
        watched(predictor, face_video)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, list[str]]]:
    def call(*arguments: object) -> tuple[int, list[str]]:
        monkeypatch.setattr(sys, "argv", ["avfusion", "live", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), capsys.readouterr().out.splitlines()

    return call


def test_the_command_prints_a_line_per_value_and_the_summary(run, trained_models: Path, silent_video: Path) -> None:
    options = ["--source", silent_video, "--no-realtime", "--model", trained_models / "fusion"]
    code, lines = run(*options)
    assert (code, len(lines)) == (0, 10)
    assert lines[1].split()[:3] == ["0.32", "s", "valence"]
    assert lines[1].endswith("no sound")
    assert lines[-1].startswith("9 clips, 0 dropped, 0 late")
    assert run(*options, "--audio-track", 2)[0] == 2, "there is none"
    code, lines = run(*options, "--json")
    values = [json.loads(line) for line in lines]
    assert [value["frame"] for value in values[:-1]] == list(range(1, 66, 8))
    summary = values[-1]["summary"]
    assert (summary["clips"], summary["dropped"], summary["realtime"]) == (9, 0, False)
    assert 0 < summary["latency_p50_s"] <= summary["latency_p99_s"]
