"""A comparison of fusion models: its numbers, its resumption, its runs, its files."""

import contextlib
import csv
import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from mlflow import MlflowClient
from typer.testing import CliRunner

from avfusion.cli import app
from avfusion.experiments.ablation import control_config
from avfusion.experiments.chains import Chain, read_chain
from avfusion.experiments.compare import Comparison, run_comparison
from avfusion.experiments.evaluate import load_evaluated
from avfusion.experiments.train_stage import training_grid
from avfusion.fusion.track_inference import predict_track
from avfusion.params.params import check_params
from avfusion.reports.comparison_table import SeedScores, comparison_rows, write_comparison
from avfusion.runtime.errors import BadInputError
from avfusion.scoring.ccc import ccc
from avfusion.scoring.intervals import few_note
from avfusion.scoring.metrics import NAMES
from avfusion.training.loop import FusionTraining

PARAMS = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8"))
PARAMS["train"] |= {"epochs": 2, "lr": 5e-3, "batch_size": 8, "options": {"k": 4}}
SIZES = {"tracks": {"train": 2, "val": 6, "test": 1}, "seconds": 8}


@pytest.fixture
def comparison(plant: Callable[..., Path]) -> Comparison:
    root = plant(**SIZES)
    params = check_params(PARAMS, ("common", "evaluate", "geometry", "train"))
    tracks = load_evaluated(root, params.geometry)["val"]
    return Comparison(params, training_grid(root, params, "cpu"), tracks, root / "data" / "raw" / "demo" / "truth")


@pytest.mark.usefixtures("few_videos_are_enough")
def test_rows_are_the_scores_of_models_trained_alone(
    comparison: Comparison, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, summary = comparison.run(["late", "jca"], [0, 3])
    count, *lines = capsys.readouterr().out.splitlines()
    assert count == "4 trainings: 0 found, 4 to do"
    assert [line.split(":")[0] for line in lines] == ["late, seed 0", "late, seed 3", "jca, seed 0", "jca, seed 3"]
    assert "(4 of 4, " in lines[-1]
    assert [row["model"] for row in rows] == ["late", "jca"]
    params, inputs = comparison.params, comparison.grid.inputs
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
    assert summary["models"]["jca"]["ccc_arousal"]["seeds"] == pytest.approx(alone, abs=1e-6)
    gap = summary["differences"]["jca - late"]["mean"]
    assert gap["difference"] == pytest.approx(-rows[0]["minus_jca_mean"])
    assert gap["ci95"] == pytest.approx([-rows[0]["minus_jca_mean_high"], -rows[0]["minus_jca_mean_low"]])


def test_single_streams_and_oracles_stand_beside_the_models(comparison: Comparison) -> None:
    _, summary = comparison.run(["jca", "audio_only", "visual_only"], [0])
    assert list(summary["differences"]) == ["jca - audio_only", "jca - visual_only", "visual_only - audio_only"]
    means = {name: scores["ccc_mean"]["mean"] for name, scores in summary["models"].items()}
    assert summary["better_stream"] == max(("audio_only", "visual_only"), key=means.__getitem__)
    assert summary["differences"]["visual_only - audio_only"]["valence"]["difference"] > 0
    assert means["oracle"] > max(means["oracle_audio"], means["oracle_visual"])
    assert (summary["split"], summary["videos"], summary["note"]) == ("val", 6, "too few videos for an interval")


def test_what_was_trained_is_found_with_the_same_numbers(
    comparison: Comparison, capsys: pytest.CaptureFixture[str]
) -> None:
    first = comparison.run(["late"], [0])[0]
    again = comparison.run(["late", "concat"], [0])[0]
    counts = [line for line in capsys.readouterr().out.splitlines() if " found, " in line]
    assert counts == ["1 training: 0 found, 1 to do", "2 trainings: 1 found, 1 to do"]
    for key in ("ccc_mean", "low_mean", "high_mean", "seconds_per_epoch"):
        assert again[0][key] == first[0][key]


def test_a_seed_with_a_chain_of_its_own_is_trained_and_scored_on_that(
    comparison: Comparison, plant_at: Callable[..., list[str]], tmp_path: Path
) -> None:
    root = comparison.grid.root
    plant_at(tmp_path / "other", **SIZES, noise=1.5)  # features that say less
    other = read_chain(root, comparison.params, "val", "cpu", features=tmp_path / "other")
    own = Chain(comparison.grid, comparison.tracks)
    rows, summary = dataclasses.replace(comparison, chains={0: own, 1: other}).run(["late"], [0, 1])
    alone = [
        dataclasses.replace(comparison, grid=chain.grid, tracks=chain.tracks).run(["late"], [seed])[0][0]["ccc_mean"]
        for seed, chain in enumerate((own, other))
    ]
    assert alone[0] - alone[1] > 0.1
    assert rows[0]["ccc_mean"] == pytest.approx(np.mean(alone))
    assert rows[0]["sd_mean"] == pytest.approx(np.std(alone, ddof=1))
    text = write_comparison(tmp_path / "reports", rows, summary, "demo")
    assert "standard deviation over whole runs (2)" in text


def test_one_head_for_all_models(comparison: Comparison) -> None:
    same = dataclasses.replace(comparison, head="relu")
    rows, _ = same.run(["jca", "late"], [0])
    assert [row["head"] for row in rows] == ["relu", "relu"]
    assert same.config("jca").options == {"k": 4, "head": "relu"}
    assert [comparison.config(name).options for name in ("jca", "late")] == [{"k": 4}, {}]
    with pytest.raises(BadInputError, match="late: head is 'direct': must be one of linear, relu"):
        dataclasses.replace(comparison, head="direct").config("late")


@pytest.mark.usefixtures("few_videos_are_enough")
def test_what_attention_adds(comparison: Comparison, capsys: pytest.CaptureFixture[str]) -> None:
    asked = dataclasses.replace(comparison, ablate=True)
    models = ["jca", "late", "audio_only"]
    rows, summary = asked.run(models, [0])
    count, *lines = capsys.readouterr().out.splitlines()
    assert count == "4 trainings: 0 found, 4 to do"
    assert lines[1].startswith("jca, trained without attention, seed 0: mean CCC ")
    assert [row["model"] for row in rows] == models
    gains = summary["attention"]
    shuffled = ["audio_shuffled", "face_shuffled"]
    assert {name: list(gain["differences"]) for name, gain in gains.items()} == {
        "jca": ["neutral", "retrained", *shuffled],
        "late": shuffled,
    }
    assert gains["jca"]["neutral"] == "C = 0"
    assert gains["jca"]["control"] == "jca trained without attention"
    plain = comparison.run(models, [0])[1]
    assert {key: value for key, value in summary.items() if key != "attention"} == plain
    # The control is jca's section with attention off, found again under that name.
    control = comparison.grid.unit(control_config(comparison.config("jca", seed=0)))  # type: ignore[arg-type]
    assert control.config.options == {"k": 4, "attention": False}
    model = comparison.grid.train(control).model("cpu")
    jca = comparison.grid.train(comparison.units(["jca"], [0])["jca", 0]).model("cpu")
    scores = {}
    for name, network in (("plain", jca), ("neutral", jca), ("control", model)):
        with network.neutralised() if name == "neutral" else contextlib.nullcontext():
            predict = functools.partial(predict_track, network, geometry=comparison.params.geometry, stride=8)
            values = [predict(track, mode="overlap")[track.valid] for track in comparison.tracks]
        labels = np.concatenate([track.labels[track.valid] for track in comparison.tracks])
        scores[name] = ccc(np.concatenate(values)[:, 0], labels[:, 0])
    found = {kind: gains["jca"]["differences"][kind]["valence"] for kind in ("neutral", "retrained")}
    assert found["neutral"]["difference"] == pytest.approx(scores["plain"] - scores["neutral"], abs=1e-6)
    assert found["retrained"]["difference"] == pytest.approx(scores["plain"] - scores["control"], abs=1e-6)
    assert found["neutral"]["difference"] != 0
    low, high = found["retrained"]["ci95"]
    assert low < found["retrained"]["difference"] < high


def test_files_and_published_figures(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scores = {
        name: SeedScores({t: [0.5] for t in ("valence", "arousal", "mean")}, rng.random((2, 9, 6)) + 5)
        for name in ("jca", "late")
    }
    costs = {"parameters": 1234.0, "multiply_adds": 2.5e6, "seconds_per_epoch": 0.5, "ms_per_video_minute": 12.0}
    rows = comparison_rows(scores, dict.fromkeys(scores, costs), {"jca": "linear", "late": None})
    rows[0]["seconds_per_epoch"] = None
    summary = {
        "split": "val", "videos": 9, "note": few_note(9), "models": {
            "jca": {}, "late": {}, "oracle": {f"ccc_{t}": {"mean": 0.75, "sd": None} for t in NAMES},
        },
        "differences": {"jca - late": {t: {"difference": 0.125, "ci95": [0.0625, 0.25]} for t in NAMES}},
    }  # fmt: skip
    text = write_comparison(tmp_path, rows, summary, "demo")
    assert "| oracle | – | 0.750 | 0.750 | 0.750 | – | – | – | – | – |" in text
    assert f"| jca - late |{' +0.125 [+0.062, +0.250] |' * 3}" in text
    assert "| 1,234 | 2.5 | – | 12 |" in text
    assert json.loads((tmp_path / "comparison.json").read_text()) == summary
    assert "| late | – | 0.500 [" in text
    assert "| jca | linear | 0.500 [" in text
    assert "| +0.000 [" in text
    assert "| 1,234 | 2.5 | 0.50 | 12 |" in text
    assert "9 groups of videos (effectively 9.0)" in text
    assert "too narrow" in text
    assert "Published" not in text
    assert "| JCA, CVPRW 2022 | 0.663 | 0.584 |" in write_comparison(tmp_path, rows, summary, "affwild2")
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
    assert "These tracks chose the epochs, too, which raises their scores." in text
    text = run_comparison(root, ["late"], [0], "val")
    assert "No difference to jca, which is not among the models: add it with --models." in text
    assert "train.options" not in text


@pytest.mark.parametrize("seeds", ["0,one", "0,-1", "0,", "1.5"])
def test_seeds_that_are_no_numbers_are_named(seeds: str) -> None:
    error = CliRunner().invoke(app, ["compare", "--seeds", seeds]).exception
    assert isinstance(error, BadInputError)
    assert str(error) == f"--seeds is '{seeds}': must be whole numbers from 0 with commas between them"


def test_tracks_without_labels_are_refused_before_anything_is_trained(comparison: Comparison) -> None:
    with pytest.raises(BadInputError, match="no track to be scored has a label"):
        dataclasses.replace(comparison, tracks=[]).run(["late"], [0])
    assert not comparison.grid.store.work.exists()


def test_without_models_those_of_params_are_compared(plant_project: Callable[..., Path]) -> None:
    root = plant_project(PARAMS | {"train": PARAMS["train"] | {"baselines": ["late"], "epochs": 1}}, **SIZES)
    done = CliRunner().invoke(app, ["compare", "--seeds", "0"])
    assert done.exit_code == 0, done.output
    found = json.loads((root / "reports" / "compare" / "comparison.json").read_text())
    assert list(found["models"]) == ["jca", "late", "oracle", "oracle_audio", "oracle_visual"]
