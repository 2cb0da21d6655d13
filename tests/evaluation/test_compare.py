"""A comparison of fusion models: its numbers, its resumption, its runs, its files."""

import csv
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import yaml
from mlflow import MlflowClient
from typer.testing import CliRunner

from avfusion.cli import app
from avfusion.experiments.compare import Comparison
from avfusion.experiments.evaluate import load_evaluated
from avfusion.experiments.run_comparison import run_comparison
from avfusion.experiments.training import read_inputs
from avfusion.fusion.track_inference import predict_track
from avfusion.params.params import check_params
from avfusion.reports.comparison_table import SeedScores, comparison_rows, write_comparison
from avfusion.runtime.errors import BadInputError
from avfusion.scoring.bootstrap import interval, paired_p_value, video_sums
from avfusion.scoring.ccc import ccc
from avfusion.training.logger import NullLogger
from avfusion.training.loop import FusionTraining

PARAMS = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8"))
PARAMS["train"] |= {"epochs": 2, "lr": 5e-3, "batch_size": 8, "options": {"k": 4}}
PARAMS["evaluate"] |= {"bootstrap": 200}
SIZES = {"tracks": {"train": 2, "val": 6, "test": 1}, "seconds": 8}


@contextmanager
def unlogged(name: str, seed: int) -> Iterator[NullLogger]:
    yield NullLogger()


@pytest.fixture
def comparison(plant: Callable[..., Path], tmp_path: Path) -> Comparison:
    root = plant(**SIZES)
    params = check_params(PARAMS, ("common", "evaluate", "geometry", "train"))
    inputs, tracks = read_inputs(root, params.geometry), load_evaluated(root, params.geometry)["val"]
    return Comparison(params, inputs, tracks, root, root / "data" / "raw" / "demo", tmp_path / "work")


def test_rows_are_the_scores_of_models_trained_alone(
    comparison: Comparison, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = comparison.run(["late", "jca"], [0, 3], unlogged)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["late, seed 0", "late, seed 3", "jca, seed 0", "jca, seed 3"]
    assert "(4 of 4, " in lines[-1]
    assert [row["model"] for row in rows] == ["late", "jca"]
    params, inputs = comparison.params, comparison.inputs
    alone = []
    for seed in (0, 3):
        config = params.train.model_copy(update={"seed": seed})
        data, stride = inputs.sequences(params.geometry), inputs.feature_spec.stride
        model = FusionTraining(
            "jca", data, inputs.validation, config, params.geometry, stride, options={"k": 4}, quiet=True
        ).fit().model  # fmt: skip
        found = [predict_track(model, t, params.geometry, stride, "overlap")[t.valid] for t in comparison.tracks]
        labels = np.concatenate([track.labels[track.valid] for track in comparison.tracks])
        alone.append(ccc(np.concatenate(found)[:, 1], labels[:, 1]))
    assert rows[1]["ccc_arousal"] == pytest.approx(np.mean(alone), abs=1e-6)
    assert rows[1]["sd_arousal"] == pytest.approx(np.std(alone, ddof=1), abs=1e-6)
    assert rows[0]["minus_jca_mean"] == pytest.approx(rows[0]["ccc_mean"] - rows[1]["ccc_mean"])
    assert rows[0]["minus_jca_mean_low"] < rows[0]["minus_jca_mean"] < rows[0]["minus_jca_mean_high"]
    assert rows[1]["minus_jca_mean"] is None
    assert rows[0]["videos"] == 6
    assert rows[0]["parameters"] < rows[1]["parameters"]
    assert rows[0]["seconds_per_epoch"] > 0 < rows[0]["ms_per_video_minute"]


def test_what_was_trained_is_not_trained_again(comparison: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    first = comparison.run(["late"], [0], unlogged)
    trained: list[tuple[str, int]] = []
    step = FusionTraining._train_epoch

    def spy(self: FusionTraining, *arguments: object) -> object:
        trained.append((self.name, self.config.seed))
        return step(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(FusionTraining, "_train_epoch", spy)
    again = comparison.run(["late", "concat"], [0], unlogged)
    assert set(trained) == {("concat", 0)}
    for key in ("ccc_mean", "low_mean", "high_mean", "seconds_per_epoch"):
        assert again[0][key] == first[0][key]


def test_p_is_below_5_percent_where_the_interval_excludes_0() -> None:
    rng = np.random.default_rng(0)
    labels, videos = rng.normal(size=2000), np.repeat(np.arange(20), 100)
    for shift in (0.0, 0.02, 0.05, 0.5):
        noises = (0.4 + shift, 0.4)
        sums = np.stack([video_sums(labels + noise * rng.normal(size=2000), labels, videos) for noise in noises])
        low, high = interval(sums, (1, -1), resamples=500, fisher=False)  # type: ignore[misc]
        p = paired_p_value(sums, (1, -1), resamples=500)
        assert p is not None
        assert (p < 0.05) == (not low <= 0 <= high)
        assert 1 / 500 <= p <= 1
    assert p == pytest.approx(1 / 500)
    assert paired_p_value(sums[:, :1], (1, -1)) is None


def test_files_and_published_figures(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scores = {
        name: SeedScores({t: [0.5] for t in ("valence", "arousal", "mean")}, rng.random((2, 6, 6)) + 5)
        for name in ("jca", "late")
    }
    costs = {"parameters": 1234.0, "multiply_adds": 2.5e6, "seconds_per_epoch": 0.5, "ms_per_video_minute": 12.0}
    rows = comparison_rows(scores, dict.fromkeys(scores, costs), 100, 0)
    text = write_comparison(tmp_path, rows, "val", "demo")
    assert "| late | 0.500 [" in text
    assert "| +0.000 [" in text
    assert "| 1,234 | 2.5 | 0.50 | 12 |" in text
    assert "6 base videos" in text
    assert "too narrow" in text
    assert "Published" not in text
    assert "| JCA, CVPRW 2022 | 0.663 | 0.584 |" in write_comparison(tmp_path, rows, "val", "affwild2")
    with (tmp_path / "comparison.csv").open(encoding="utf-8", newline="") as file:
        assert [row["model"] for row in csv.DictReader(file)] == ["jca", "late"]


def test_the_command_logs_nested_runs_once(plant_project: Callable[..., Path]) -> None:
    root = plant_project(PARAMS, **SIZES)
    for _ in range(2):
        text = run_comparison(root, ["late", "jca"], [0], "val")
    assert text == (root / "reports" / "compare" / "comparison.md").read_text(encoding="utf-8")
    assert (root / "reports" / "compare" / "comparison.png").stat().st_size > 1000
    client = MlflowClient(f"sqlite:///{root / 'mlruns' / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("avfusion").experiment_id])
    names = {run.info.run_name: run for run in runs}
    assert len(runs) == len(names) == 3
    child = names["late, seed 0"]
    assert child.data.tags["mlflow.parentRunId"] == names["comparison"].info.run_id
    assert child.data.params["model"] == "late"
    assert {"loss", "val_ccc_mean", "val/ccc_mean"} <= child.data.metrics.keys()
    assert client.list_artifacts(child.info.run_id) == []
    with pytest.raises(BadInputError, match="--models has 'nonsense': must be one of concat, "):
        run_comparison(root, ["nonsense"], [0], "val")
    with pytest.raises(BadInputError, match=r"released_coattention takes visual maps.* features are pooled: set backb"):
        run_comparison(root, ["late", "released_coattention"], [0], "val")
    assert "jca has train.options (k: 4); the others have their defaults." in text
    text = run_comparison(root, ["late"], [0], "val")
    assert "No difference to jca, which is not among the models: add it with --models." in text
    assert "train.options" not in text


@pytest.mark.parametrize("seeds", ["0,one", "0,-1", "0,", "1.5"])
def test_seeds_that_are_no_numbers_are_named(seeds: str) -> None:
    error = CliRunner().invoke(app, ["compare", "--seeds", seeds]).exception
    assert isinstance(error, BadInputError)
    assert str(error) == f"--seeds is '{seeds}': whole numbers from 0 with commas between them are needed"


def test_tracks_without_labels_are_refused_before_anything_is_trained(comparison: Comparison, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no track to be scored has a label"):
        dataclasses.replace(comparison, tracks=[], work=tmp_path / "none").run(["late"], [0], unlogged)
    assert not (tmp_path / "none").exists()
