"""One fusion model with one seed is trained once, wherever it is asked for; what is kept gives the same bytes."""

import json
import os
import re
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from avfusion.data.labels import read_labels, write_labels
from avfusion.experiments import grid as grid_module
from avfusion.experiments import train_unit, training_store
from avfusion.experiments import vouch as vouch_module
from avfusion.experiments.compare import run_comparison
from avfusion.experiments.crossval import run_cross_validation
from avfusion.experiments.robustness.stage import _variant_training
from avfusion.experiments.sweep.confirm import compare_points
from avfusion.experiments.train_stage import run_train_stage, train_models, training_grid
from avfusion.experiments.training import config_of
from avfusion.params.params import Params, load_params
from avfusion.runtime.errors import AVFusionError
from avfusion.runtime.fingerprints import folder_digest
from avfusion.training.checkpoints import CHECKPOINT
from avfusion.training.logger import NullLogger
from avfusion.training.loop import FusionTraining
from avfusion.training.precision import resolve_precision

PARAMS = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8"))
PARAMS["train"] |= {"epochs": 2, "lr": 5e-3, "batch_size": 8, "options": {"k": 4}, "baselines": ["late"]}
PARAMS["common"] |= {"threads": 1}
SECTIONS = ("common", "corpus", "evaluate", "frames", "geometry", "robustness", "train")
COUNT = re.compile(r"(\d+) trainings?: (\d+) found, (\d+) to do")


@pytest.fixture
def root(plant_project: Callable[..., Path]) -> Path:
    return plant_project(PARAMS, tracks={"train": 3, "val": 2, "test": 1}, seconds=6)


@pytest.fixture
def counts(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[tuple[int, int, int]]]:
    """Gives what grids said since the last call: trainings in all, found, to do."""

    def read() -> list[tuple[int, int, int]]:
        found = COUNT.findall(capsys.readouterr().out)
        return [(int(every), int(there), int(rest)) for every, there, rest in found]

    return read


def params_of(root: Path, **train: Any) -> Params:
    (root / "params.yaml").write_text(yaml.safe_dump(PARAMS | {"train": PARAMS["train"] | train}))
    return load_params(root / "params.yaml", SECTIONS)


def stage(root: Path, **train: Any) -> Params:
    """What the stage trains and writes, without its runs."""
    params = params_of(root, **train)
    train_models(training_grid(root, params, "cpu"), params)
    return params


def finished(root: Path) -> dict[str, int]:
    """The finished trainings of the store, and when each model was written."""
    folders = (root / ".avfusion" / "train").glob("*/training.json")
    return {path.parent.name: (path.parent / "model.safetensors").stat().st_mtime_ns for path in folders}


Counts = Callable[[], list[tuple[int, int, int]]]


def test_every_command_finds_what_another_one_trained(root: Path, counts: Counts) -> None:
    params = stage(root)
    assert counts() == [(2, 0, 2)]
    first = finished(root)
    run_comparison(root, ["jca", "late"], [0, 1, 2], "val")
    assert counts() == [(6, 2, 4)]
    known = finished(root)
    assert len(known) == 6
    assert {key: known[key] for key in first} == first, "written once"
    run_comparison(root, ["jca", "late"], [0, 1, 2], "test")
    assert counts() == [(6, 6, 0)]
    run_cross_validation(root, ["jca"], 2)
    assert counts() == [(2, 1, 1)], "fold 0 is the official split"
    points = {"best found": config_of(params.train, "jca"), "the paper's": config_of(params.train, "late")}
    with_sweep = load_params(root / "params.yaml", (*SECTIONS, "sweep"))
    compare_points(root, with_sweep, points, (2, 3))
    assert counts() == [(4, 2, 2)]
    before = finished(root)
    train_variant(root, params)
    assert len(finished(root)) == len(before) + 1
    train_variant(root, params)
    same = params.replaced(robustness=params.robustness.model_copy(update={"modality_dropout": 0.0}))
    train_variant(root, same)  # the main model itself
    assert len(finished(root)) == len(before) + 1


def train_variant(root: Path, params: Params) -> None:
    grid, unit = _variant_training(root, params, "cpu")
    grid.train(unit)


def test_a_change_trains_what_it_concerns(root: Path, counts: Counts) -> None:
    stage(root)
    models = root / "models"
    before = {name: folder_digest(models / name) for name in ("fusion", "baselines/late")}
    stage(root, baselines=["late", "concat"])
    stage(root, options={"k": 8})
    assert counts() == [(2, 0, 2), (3, 2, 1), (2, 1, 1)]
    assert not (models / "baselines" / "concat").exists(), "not asked for any more"
    assert folder_digest(models / "fusion") != before["fusion"]
    assert folder_digest(models / "baselines" / "late") == before["baselines/late"]
    stage(root)
    assert counts() == [(2, 2, 0)], "earlier params"
    assert {name: folder_digest(models / name) for name in before} == before
    # A baseline becomes the main model, and back: files move, nothing is trained but what lost its options.
    stage(root, model="late", baselines=["jca"], options={})
    assert counts() == [(2, 1, 1)]
    assert json.loads((models / "fusion" / "config.json").read_text())["fusion"]["name"] == "late"


def test_a_clone_knows_the_outs_that_it_pulled(root: Path, counts: Counts) -> None:
    stage(root)
    outs = {name: (root / name).stat().st_ino for name in ("models/fusion", "models/baselines/late")}
    assert json.loads((root / "models" / "fusion" / "training.json").read_text())["device"] == "cpu"
    digest, reports = folder_digest(root / "models"), folder_digest(root / "reports" / "train")
    shutil.rmtree(root / ".avfusion")
    shutil.rmtree(root / "reports" / "train")
    stage(root)
    assert counts()[-1] == (2, 2, 0)
    assert (folder_digest(root / "models"), folder_digest(root / "reports" / "train")) == (digest, reports)
    assert {name: (root / name).stat().st_ino for name in outs} == outs, "left alone"
    shutil.rmtree(root / ".avfusion")
    text = run_comparison(root, ["jca", "concat"], [0], "val")
    assert counts() == [(2, 1, 1)]
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith(("| jca | ", "| concat | "))]
    paces = {row[0]: row[9] for row in rows}
    assert paces["| jca"] == "–", "how long the training took elsewhere is not known"
    assert float(paces["| concat"]) > 0
    # What was pulled is kept when other params replace it.
    shutil.rmtree(root / ".avfusion")
    stage(root, options={"k": 8}, baselines=[])
    stage(root)
    assert counts() == [(1, 0, 1), (2, 2, 0)]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: (folder / "training.json").write_text("{"), "JSONDecodeError"),
        (lambda folder: (folder / "training.json").write_text('{"stamp": {}}'), "KeyError"),
        (lambda folder: (folder / "training.json").unlink(), "no such file"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"other"), "the model beside it is another one"),
        (lambda folder: (folder / "config.json").write_text("[]"), "TypeError"),
    ],
)
def test_a_result_that_cannot_be_trusted_is_made_anew(
    damage: Callable[[Path], object], reason: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage(root)
    digest = folder_digest(root / "models")
    shutil.rmtree(root / ".avfusion")
    damage(root / "models" / "fusion")
    capsys.readouterr()
    stage(root)
    output = capsys.readouterr().out
    assert len(re.findall(rf"models/fusion/training\.json cannot be used \({reason}", output)) == 1, output
    assert "2 trainings: 1 found, 1 to do" in output
    assert folder_digest(root / "models") == digest


def test_changed_labels_train_all_again_and_facts_none(root: Path, counts: Counts) -> None:
    stage(root)
    params = params_of(root)
    frames = params.frames.model_copy(update={"jpeg_quality": 50})
    changed = params.replaced(frames=frames)
    train_models(training_grid(root, changed, "cpu"), changed)
    for folder in ("fusion", "baselines/late"):
        assert json.loads((root / "models" / folder / "config.json").read_text())["frames"]["jpeg_quality"] == 50
    path = root / "data" / "labels" / "train-1.parquet"
    table = read_labels(path)
    write_labels(replace(table, valence=table.valence * 0.5), path)
    stage(root)
    assert counts() == [(2, 0, 2), (2, 2, 0), (2, 0, 2)]


def test_a_started_training_goes_on_from_its_checkpoint_for_whoever_asks(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Killed(NullLogger):
        def log_metrics(self, metrics: object, step: int | None = None) -> None:
            if step == 2:
                raise KeyboardInterrupt

    stage(root, epochs=4)
    whole = folder_digest(root / "models")
    for path in (".avfusion", "models/fusion", "models/baselines"):
        shutil.rmtree(root / path)
    grid = training_grid(root, params := params_of(root, epochs=4), "cpu")
    unit = grid.unit(config_of(params.train, "jca"))
    with pytest.raises(KeyboardInterrupt):
        grid.train(unit, Killed())
    assert (grid.store.folder(unit) / CHECKPOINT).is_file()
    capsys.readouterr()
    run_comparison(root, ["jca"], [0], "val")
    stage(root, epochs=4)
    assert not (grid.store.folder(unit) / CHECKPOINT).exists()
    assert folder_digest(root / "models") == whole


def test_a_checkpoint_of_another_precision_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `amp: auto` means is no part of the key, and no training changes its arithmetic half-way."""
    grid = training_grid(root, params := params_of(root), "cpu")
    unit = grid.unit(config_of(params.train, "late"))
    monkeypatch.setattr(training_store, "save_fusion", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        grid.train(unit)
    other = replace(resolve_precision("off", "cpu"), name="bfloat16")
    monkeypatch.setattr(train_unit, "resolve_precision", lambda *_: other)
    with pytest.raises(
        AVFusionError, match=r"checkpoint\.pt belongs to another training, or was begun on another kind"
    ):
        grid.train(unit)


def test_a_training_chooses_threads_and_algorithms_itself(root: Path) -> None:
    """Whichever command asks for it: this belongs to the code of the training."""
    before = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    try:
        torch.set_num_threads(2)
        torch.set_deterministic_debug_mode("default")
        stage(root, baselines=[])
        assert (torch.get_num_threads(), torch.get_deterministic_debug_mode()) == (1, 2)
    finally:
        torch.set_num_threads(before[0])
        torch.set_deterministic_debug_mode(before[1])


def test_a_second_process_waits_for_the_result(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = training_grid(root, params := params_of(root), "cpu")
    unit = grid.unit(config_of(params.train, "late"))
    other = threading.Thread(target=lambda: training_grid(root, params, "cpu").train(unit))
    with grid.store.alone(unit):
        other.start()
        while "another process trains the same model" not in capsys.readouterr().out:
            other.join(0.05)
            assert other.is_alive()
        grid.store.finish(unit, grid_result(grid, unit), "cpu")
    other.join()
    assert len(finished(root)) == 1


def grid_result(grid: Any, unit: Any) -> Any:
    data, stride = grid.inputs.sequences(grid.geometry), grid.inputs.feature_spec.stride
    return FusionTraining("late", data, unit.fold.validation, unit.config, grid.geometry, stride, quiet=True).fit()


def test_trainings_of_long_ago_go_first(root: Path, counts: Counts, monkeypatch: pytest.MonkeyPatch) -> None:
    stage(root, baselines=[])
    (main,) = finished(root)
    folder = root / ".avfusion" / "train"
    size = sum(path.stat().st_size for path in (folder / main).iterdir())
    monkeypatch.setattr(training_store, "LIMIT_BYTES", int(2.5 * size))
    for seed in (1, 2):
        os.utime(folder / main, (seed, seed))
        stage(root, baselines=[], seed=seed)
    assert main not in finished(root)
    assert len(finished(root)) == 2
    monkeypatch.setattr(training_store, "LIMIT_BYTES", 0)
    run_comparison(root, ["jca"], [0, 1, 2], "val")
    assert len(finished(root)) == 3, "those of the command itself stay"
    assert counts()[-1] == (3, 2, 1)


def test_a_training_that_another_process_removes_meanwhile_is_left_out(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = root / ".avfusion" / "train" / "gone"
    (folder / "below").mkdir(parents=True)
    size = training_store._size

    def vanishing(path: Path) -> int:
        shutil.rmtree(path)
        (path / "model.safetensors").stat()
        return size(path)

    monkeypatch.setattr(training_store, "_size", vanishing)
    training_store.TrainingStore(root).trim(())
    assert not folder.exists()


def test_a_damaged_out_is_written_anew_from_the_store(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage(root)
    digest = folder_digest(root / "models")
    (root / "models" / "fusion" / "training.json").write_text("{")
    capsys.readouterr()
    stage(root)
    output = capsys.readouterr().out
    assert re.search(r"models/fusion/training\.json cannot be used \(JSONDecodeError.*: it is written anew", output)
    assert "2 trainings: 2 found, 0 to do" in output
    assert folder_digest(root / "models") == digest


def test_a_run_of_a_training_that_was_found_has_its_history(root: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{root / 'mlruns' / 'mlflow.db'}")

    def run() -> dict[str, Any]:
        run_train_stage(root, root, load_params(root / "params.yaml", SECTIONS))
        record = json.loads((root / "reports" / "train" / "run.json").read_text())
        ids = {name: entry["run_id"] for name, entry in record["runs"].items()}
        assert len(record["inputs"]) == 3
        return {name: client.get_run(run_id) for name, run_id in ids.items()}

    first = run()
    assert all("training" not in entry.data.tags for entry in first.values())
    params_of(root, baselines=["late", "concat"])
    second = run()
    assert not {entry.info.run_id for entry in first.values()} & {entry.info.run_id for entry in second.values()}
    tags = {name: entry.data.tags.get("training") for name, entry in second.items()}
    assert tags == {"jca": "found again", "late": "found again", "concat": None}
    for name, entry in first.items():
        again = second[name]
        assert again.data.metrics == entry.data.metrics
        assert again.data.tags["code.digest"] == entry.data.tags["code.digest"]
        values = [
            [(point.step, point.value) for point in client.get_metric_history(e.info.run_id, "val_ccc_mean")]
            for e in (entry, again)
        ]
        assert [step for step, _ in values[0]] == [1, 2]
        assert values[0] == values[1]
    # Earlier params: their runs are continued, and nothing is logged twice.
    params_of(root)
    third = run()
    assert {n: e.info.run_id for n, e in third.items()} == {n: e.info.run_id for n, e in first.items()}
    assert all("training" not in entry.data.tags for entry in third.values())
    assert len(client.get_metric_history(third["jca"].info.run_id, "loss")) == 2


def test_a_refactored_training_is_vouched_for(
    root: Path, counts: Counts, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    params = stage(root)
    before = folder_digest(root / "models")
    monkeypatch.setattr(grid_module, "unit_digest", lambda *names: f"new code of {names[1]}")
    monkeypatch.setattr(vouch_module, "git_identity", lambda root: "Ada Lovelace <ada@example.org>")
    done = vouch_module.vouch(root, params, "train", 5)
    assert (set(done.recomputed), done.restamped) == ({"jca", "late"}, 2)
    assert folder_digest(root / "models") != before
    counts()
    stage(root)
    assert counts() == [(2, 2, 0)]
    stamp = json.loads((root / "models" / "fusion" / "training.json").read_text())["stamp"]
    assert stamp["code"] == "new code of avfusion.fusion.jca"
    assert [entry["by"] for entry in stamp["vouched"]] == ["Ada Lovelace <ada@example.org>"]
    # Code that gives other weights.
    monkeypatch.setattr(grid_module, "unit_digest", lambda *names: f"newer code of {names[1]}")
    monkeypatch.setattr(FusionTraining, "_finished", lambda self, state: state.epoch >= 1)
    with pytest.raises(AVFusionError, match="train: 2 of 2 recomputed results differ"):
        vouch_module.vouch(root, params, "train", 5)
    assert json.loads((root / "models" / "fusion" / "training.json").read_text())["stamp"] == stamp
