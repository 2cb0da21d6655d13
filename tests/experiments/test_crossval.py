"""Cross-validation: scores of what was not trained on, windows, averaging, resumption, runs and files."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from mlflow import MlflowClient
from typer.testing import CliRunner

from avfusion.cli import app
from avfusion.experiments.crossval import CrossValidated, CrossValidation, choose_windows
from avfusion.experiments.evaluate import load_evaluated
from avfusion.experiments.folds import grouped_folds
from avfusion.experiments.train_stage import training_grid
from avfusion.fusion.track_inference import predict_track
from avfusion.params.params import check_params
from avfusion.reports.crossval_table import crossval_markdown, write_cross_validation
from avfusion.runtime.errors import BadInputError
from avfusion.scoring.ccc import ccc
from avfusion.scoring.smoothing import smooth_seconds
from avfusion.scoring.track_predictions import TrackPredictions, read_predictions
from avfusion.training.loop import FusionTraining
from avfusion.training.sequences import sequence_data

PARAMS = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8"))
PARAMS["train"] |= {"model": "concat", "epochs": 3, "batch_size": 8, "lr": 1e-2, "dropout": 0.1, "baselines": []}
PARAMS["train"]["options"] = {"head_hidden": 16}
SIZES = {"tracks": {"train": 5, "val": 2, "test": 2}, "seconds": 8}


@pytest.fixture
def crossval(plant: Callable[..., Path]) -> CrossValidation:
    root = plant(**SIZES)
    params = check_params(PARAMS, ("common", "evaluate", "geometry", "train"))
    tracks = load_evaluated(root, params.geometry)["test"]
    return CrossValidation(params, training_grid(root, params, "cpu"), tracks, root / "data" / "raw" / "demo" / "truth")


def pooled(tracks: list[TrackPredictions], model: str, windows: tuple[float, float] = (0, 0)) -> float:
    smoothed = [smooth_seconds(track.predictions[model], track.time_s, windows) for track in tracks]
    values = np.concatenate([values[track.valid] for values, track in zip(smoothed, tracks, strict=True)])
    labels = np.concatenate([track.labels[track.valid] for track in tracks])
    return float(np.mean([ccc(values[:, c], labels[:, c]) for c in range(2)]))


@pytest.mark.usefixtures("few_videos_are_enough")
def test_folds_are_scored_by_models_that_saw_the_others_and_the_test_by_their_mean(
    crossval: CrossValidation, capsys: pytest.CaptureFixture[str]
) -> None:
    found = crossval.run(["concat", "late"], 3)
    count, *lines = capsys.readouterr().out.splitlines()
    assert count == "6 trainings: 0 found, 6 to do"
    order = [f"{name}, fold {fold}" for fold in range(3) for name in ("concat", "late")]
    assert [line.split(":")[0] for line in lines] == order
    assert "on 2 videos (1 of 6, " in lines[0]
    assert [f"{row['model']}, fold {row['fold']}" for row in found.folds] == order
    assert [(row["train_videos"], row["scored_videos"]) for row in found.folds[::2]] == [(5, 2), (4, 3), (5, 2)]
    # The same by hand.
    params, inputs, stride = crossval.params, crossval.grid.inputs, crossval.grid.inputs.feature_spec.stride
    tests, scores = [], []
    for fold in grouped_folds(inputs.train, inputs.validation, 3):
        data = sequence_data(fold.train, stride=stride, length=16)
        model = FusionTraining(
            "concat", data, fold.validation, params.train, params.geometry, stride,
            options={"head_hidden": 16}, quiet=True,
        ).fit().model  # fmt: skip
        values = [predict_track(model, t, params.geometry, stride, "overlap")[t.valid] for t in fold.validation]
        labels = np.concatenate([track.labels[track.valid] for track in fold.validation])
        scores.append(ccc(np.concatenate(values)[:, 0], labels[:, 0]))
        tests.append([predict_track(model, track, params.geometry, stride, "overlap") for track in crossval.test])
    assert [row["ccc_valence"] for row in found.folds if row["model"] == "concat"] == pytest.approx(scores, abs=1e-6)
    for number, track in enumerate(found.test):
        expected = np.mean([fold[number] for fold in tests], axis=0)
        np.testing.assert_allclose(track.predictions["concat"], expected, atol=1e-6)
    row = found.models[0]
    means = [entry["ccc_mean"] for entry in found.folds if entry["model"] == "concat"]
    assert (row["mean"], row["sd"]) == pytest.approx((np.mean(means), np.std(means, ddof=1)))
    assert row["val_ccc_mean"] == means[0]
    assert row["test_ccc_mean"] == pytest.approx(pooled(found.test, "concat"), abs=1e-6)
    assert row["test_ccc_mean"] > 0.3  # planted: three epochs see it
    windows = row["window_valence_s"], row["window_arousal_s"]
    assert row["test_smoothed_ccc_mean"] == pytest.approx(pooled(found.test, "concat", windows), abs=1e-6)
    assert row["test_low_mean"] < row["test_ccc_mean"] < row["test_high_mean"]


def test_what_was_trained_is_found_again(crossval: CrossValidation, capsys: pytest.CaptureFixture[str]) -> None:
    first = crossval.run(["late"], 2)
    assert crossval.run(["late"], 2).models == first.models
    # Other folds are other trainings, but for the official split.
    crossval.run(["late"], 3)
    counts = [line for line in capsys.readouterr().out.splitlines() if " found, " in line]
    numbers = [(2, 0), (2, 2), (3, 1)]
    assert counts == [f"{n} trainings: {found} found, {n - found} to do" for n, found in numbers]


def test_windows_are_those_with_the_best_score() -> None:
    rng, time_s = np.random.default_rng(0), np.arange(2000) / 25
    labels = np.stack([np.sin(time_s * 0.5), np.sin(time_s * 6)], axis=1).astype(np.float32)
    noisy = labels + rng.normal(size=labels.shape) * (1.0, 0.02)
    track = TrackPredictions(
        *("t", "t", "val", time_s, labels, np.ones(2000, bool), np.ones((2000, 2), bool)),
        {"m": noisy.astype(np.float32)},
    )
    slow, fast = choose_windows([track], "m")
    assert slow >= 0.6  # slow and noisy: smoothed a lot
    assert fast == 0  # fast and clean: not at all


def test_windows_are_chosen_on_the_training_folds_alone(
    crossval: CrossValidation, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[set[str]] = []

    def spy(tracks: list[TrackPredictions], model: str) -> tuple[float, float]:
        shown.append({track.split for track in tracks})
        return 0.2, 0.4

    monkeypatch.setattr("avfusion.experiments.crossval.choose_windows", spy)
    row = crossval.run(["late"], 3).models[0]
    assert shown == [{"train"}]
    assert (row["window_valence_s"], row["window_arousal_s"]) == (0.2, 0.4)


@pytest.mark.usefixtures("few_videos_are_enough")
def test_files_say_what_the_features_have_seen(crossval: CrossValidation, tmp_path: Path) -> None:
    found = crossval.run(["late"], 2)
    folder = tmp_path / "reports"
    text = write_cross_validation(folder, found, out_of_fold=False)
    assert "what the folds from 1 on score, they have seen." in text
    assert "come from backbones that never saw the video" in write_cross_validation(folder, found, out_of_fold=True)
    assert "Few videos: intervals may be too narrow (effectively 2.0 in a fold)." in text
    score = found.folds[1]
    assert f"| late | 1 | 2 / 5 | {score['best_epoch']} | {score['ccc_valence']:.3f} [" in text
    assert "averaged over 2 models (2 groups of videos with labels)" in text
    for name, rows in (("folds", found.folds), ("models", found.models)):
        with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            written = list(csv.DictReader(file))
        assert len(written) == len(rows)
        assert written[0].keys() == rows[0].keys()
    values, _, features = read_predictions(folder / "predictions" / "test-1.parquet")
    np.testing.assert_array_equal(values, found.test[1].predictions["late"])
    assert features == found.test[1].features != ""
    # Without labels there is nothing to say of the test tracks.
    blind = [{key: None if key.startswith("test_") else value for key, value in row.items()} for row in found.models]
    assert (
        crossval_markdown(CrossValidated(found.folds, blind, []), 0, "").splitlines()[-1].endswith("| – | – | – | – |")
    )
    assert "Each fold's training stops by the very tracks that the fold scores" in text
    inner = replace(found, stopping="inner")
    told = write_cross_validation(folder, inner, out_of_fold=True)
    assert "stops by a tenth of its own training groups" in told
    assert "are of backbones that did see the videos it scores. Each fold" in told, "nothing chose their epochs"
    told = crossval_markdown(CrossValidated(found.folds, blind, [], ["anna"]), 0, "")
    assert "The official split has 1 group on both sides (anna): fold 0 scores them too high" in told


def test_the_command_logs_nested_runs_once(plant_project: Callable[..., Path]) -> None:
    root = plant_project(PARAMS, **SIZES)
    for _ in range(2):
        done = CliRunner().invoke(app, ["crossval", "--model", "late", "--folds", "2"])
        assert done.exit_code == 0
    text = (root / "reports" / "crossval" / "crossval.md").read_text(encoding="utf-8")
    assert done.stdout.endswith(text + "\n")
    client = MlflowClient(f"sqlite:///{root / 'mlruns' / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("avfusion").experiment_id])
    names = {run.info.run_name: run for run in runs}
    assert names.keys() == {"cross-validation", "late, fold 0", "late, fold 1"}
    assert len(runs) == 3
    child = names["late, fold 1"]
    assert child.data.tags["mlflow.parentRunId"] == names["cross-validation"].info.run_id
    assert (child.data.params["model"], child.data.params["fold"]) == ("late", "1")
    assert {"loss", "val_ccc_mean", "fold/ccc_mean"} <= child.data.metrics.keys()
    assert client.list_artifacts(child.info.run_id) == []
    parts = [file.path for file in client.list_artifacts(names["cross-validation"].info.run_id)]
    assert parts == ["crossval.md", "folds.csv", "models.csv"]
    for arguments, message in (
        (["--models", "late,nonsense"], "--models has 'nonsense': must be one of concat, "),
        (["--folds", "9"], "folds is 9: must be from 2 to 6"),
    ):
        error = CliRunner().invoke(app, ["crossval", *arguments]).exception
        assert isinstance(error, BadInputError)
        assert str(error).startswith(message)
