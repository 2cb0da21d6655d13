"""A tuning: what is tried, what is recommended, and one real measurement of small backbones."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from avfusion.doctor.speed import SpeedTask, StreamSpeed, build_networks, extraction
from avfusion.doctor.tuning import Measurement, arrangements, changes, dtypes_to_try, recommend, tune
from avfusion.params.params import Params, check_params

CONFIGS = Path(__file__).parents[2] / "avfusion" / "params" / "presets"


def small_params(**changes: dict[str, object]) -> Params:
    """The demo's with the backbones of the fixture `trained_models`, narrower still."""
    values = yaml.safe_load((CONFIGS / "demo.yaml").read_text())
    values["backbones"]["visual"] |= {"width": 4, "input_size": 32}
    values["backbones"]["audio"] |= {"width": 4}
    for section, some in changes.items():
        values[section] |= some
    return check_params(values)


def measured(workers: int = 2, threads: int = 1, dtype: str = "float32", both: float = 10.0, relative: float = 0.0):
    return Measurement(workers, threads, dtype, 2 * both, 2 * both, both, 1.0, relative, relative)


def test_arrangements_are_that_of_the_parameters_and_those_that_fill_the_cores():
    assert arrangements(small_params(), 2, "cpu") == [(2, 1), (1, 2)]
    assert arrangements(small_params(), 1, "cpu") == [(1, 1)]
    many = small_params(execution={"workers": 3}, features={"threads": 2})
    assert arrangements(many, 6, "cpu") == [(3, 2), (6, 1), (1, 4), (1, 6)]
    serial = small_params(execution={"executor": "serial", "workers": 4})
    assert arrangements(serial, 4, "cpu")[0] == (1, 1)
    assert arrangements(small_params(), 16, "cuda") == [(2, 1), (1, 1), (4, 1)]


def test_float16_is_tried_on_a_gpu_only():
    assert dtypes_to_try(small_params(), "cpu") == ["float32", "bfloat16"]
    assert dtypes_to_try(small_params(features={"dtype": "bfloat16"}), "cpu") == ["bfloat16", "float32"]
    assert dtypes_to_try(small_params(features={"dtype": "float16"}), "cuda") == ["float16", "float32", "bfloat16"]


def test_the_fastest_with_the_same_features_is_recommended():
    present, close, far = (
        measured(),
        measured(dtype="bfloat16", both=20, relative=0.01),
        measured(both=30, relative=0.2),
    )
    assert recommend([present, close, far]) is close
    assert recommend([present, measured(threads=2, both=10.3)]) is present, "noise"
    assert recommend([measured(dtype="bfloat16", relative=0.2), measured(both=3)]).both == 3, "its features are others"
    assert recommend([far]) is far


def test_only_what_differs_is_to_be_set():
    params = small_params()
    assert changes(measured(), params) == {}
    assert changes(measured(1, 2, "bfloat16"), params) == {
        "features.threads": 2,
        "features.dtype": "bfloat16",
        "execution.workers": 1,
    }
    serial = small_params(execution={"executor": "serial"})
    assert changes(measured(1), serial) == {}
    assert changes(measured(4), serial) == {"execution.workers": 4, "execution.executor": "processes"}
    assert changes(measured(4), small_params(execution={"executor": "ray", "workers": 64})) == {}


def test_random_clips_go_through_the_code_of_the_features_stage():
    params = small_params()
    task = SpeedTask(params, None, 1, (), "cpu", 0.0)
    networks = build_networks(task)
    for stream, dimension in (("visual", 32), ("audio", 32)):
        features = extraction(task, networks, "float32", stream, 3)()
        assert features.shape == (3, dimension)
        assert np.isfinite(features).all()
        assert not np.allclose(features[0], features[1]), "clips differ"
        np.testing.assert_array_equal(features, extraction(task, networks, "float32", stream, 3)())
    maps = small_params(backbones={"output": "map"})
    task = SpeedTask(maps, None, 1, (), "cpu", 0.0)
    assert extraction(task, build_networks(task), "bfloat16", "visual", 1)().shape == (1, 32, 2, 2)


def test_a_real_tuning_measures_every_arrangement_and_writes_nothing(tmp_path, trained_models):
    shutil.copytree(trained_models, tmp_path / "models")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    tuning = tune(tmp_path, small_params(), cores=2, clips=36_000, seconds=0.05)
    settings = [(one.workers, one.threads, one.dtype) for one in tuning.measurements]
    assert settings == [(2, 1, "float32"), (2, 1, "bfloat16"), (1, 2, "float32"), (1, 2, "bfloat16")]
    assert (tuning.device, tuning.weights, tuning.failures) == ("cpu", "trained", ())
    assert tuning.measurements[0].ratio == 1
    for one in tuning.measurements:
        assert one.both == pytest.approx(1 / (1 / one.visual + 1 / one.audio), rel=0.05, abs=0.02)
        assert one.both > 0
        if one.dtype == "bfloat16":
            assert 1e-5 < one.difference < 1
            assert 1e-4 < one.relative < 0.2
        else:
            assert one.difference < 1e-5
    assert tuning.recommended.keys() <= {"features.threads", "features.dtype", "execution.workers"}
    assert tuning.hours_now == pytest.approx(10 / tuning.measurements[0].both, rel=0.05, abs=0.02)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_small_gains_are_not_recommended_and_more_workers_than_cores_are_no_other_arrangement(tmp_path, monkeypatch):
    params = small_params(execution={"workers": 4})
    speeds = {("float32", 1): 10.0, ("bfloat16", 1): 10.4, ("float32", 2): 9.0, ("bfloat16", 2): 10.3}

    def speed(task, workers):
        return [
            {
                dtype: dict.fromkeys(
                    ("visual", "audio"), StreamSpeed(2 * speeds[dtype, task.threads] / workers, 0.0, 0.0)
                )
                for dtype in task.dtypes
            }
        ] * workers

    monkeypatch.setattr("avfusion.doctor.tuning._measure_together", speed)
    tuning = tune(tmp_path, params, cores=2, clips=36_000)
    assert [one.both for one in tuning.measurements] == [10.0, 10.4, 9.0, 10.3]
    assert (tuning.recommended, tuning.hours_now) == ({}, 1.0)
    speeds["bfloat16", 1] = 10.6
    assert tune(tmp_path, params, cores=2, clips=None).recommended == {
        "features.dtype": "bfloat16",
        "execution.workers": 2,
    }


@pytest.mark.slow
def test_the_command_prints_pure_json(project):
    values = yaml.safe_load((project / "params.yaml").read_text())
    command = [sys.executable, "-m", "avfusion.cli", "doctor", "--tune", "--json"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    tuning = json.loads(done.stdout)["tuning"]
    assert tuning["measurements"][0]["threads"] == values["features"]["threads"]
    assert tuning["weights"] == "random", "the trained ones are narrower than params.yaml wants them"
    assert "speed of" in done.stderr
    assert yaml.safe_load((project / "params.yaml").read_text()) == values
