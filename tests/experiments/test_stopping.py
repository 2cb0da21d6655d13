"""The inner stopping split: trainings, of backbones and of fusion models, never look at the tracks that are scored."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avfusion.corpora.table import read_tracks, write_tracks
from avfusion.data.labels import LabelTable, read_labels, write_labels
from avfusion.data.settings import GeometrySettings
from avfusion.doctor import _stopping
from avfusion.doctor.corpus import CorpusState
from avfusion.experiments.backbones import backbone_stamp, backbone_tasks
from avfusion.experiments.crossval import CrossValidation
from avfusion.experiments.evaluate_stage import run_evaluation
from avfusion.experiments.grid import Grid
from avfusion.experiments.stage import Stage
from avfusion.experiments.stopping import in_place_of_validation, part, stopping_groups
from avfusion.experiments.train_stage import train_models, training_grid
from avfusion.experiments.training import read_inputs
from avfusion.fusion.files import load_fusion
from avfusion.params.params import Params, load_params
from avfusion.training.logger import NullLogger, StoppingNames
from avfusion.training.settings import TrainSettings

GEOMETRY = GeometrySettings(fps=25)
PRESET = Path(__file__).resolve().parents[2] / "avfusion" / "params" / "presets" / "demo.yaml"


@pytest.fixture
def root(plant: Callable[..., Path]) -> Path:
    return plant(tracks={"train": 12, "val": 3, "test": 1}, seconds=3)


def params(stopping: str, folds: int = 0) -> Params:
    read = load_params(PRESET)
    train = read.train.model_copy(update={"stopping": stopping, "model": "concat", "baselines": (), "epochs": 1})
    return read.replaced(train=train, backbones=read.backbones.model_copy(update={"folds": folds}), geometry=GEOMETRY)


def relabel(root: Path, track: str) -> None:
    path = root / "data" / "labels" / f"{track}.parquet"
    table = read_labels(path)
    path.unlink()
    write_labels(LabelTable(table.valence * np.float32(-0.5), table.arousal, table.valid), path)


def stamps(root: Path, asked: Params) -> dict[str, str]:
    """What decides each training: of the fusion model, and of both backbones."""
    inputs = read_inputs(root, GEOMETRY, stopping=asked.train.stopping)
    found = {"fusion": Grid(root, inputs, GEOMETRY, 1).unit(asked.train).digest}
    table = read_tracks(root / "data" / "corpus" / "tracks.parquet")
    tasks = backbone_tasks(root, table, asked, root / "work")
    return found | {task.stream: backbone_stamp(task).made for task in tasks}


def test_validation_labels_decide_no_training(root: Path) -> None:
    before = {mode: stamps(root, params(mode)) for mode in ("inner", "validation")}
    relabel(root, "val-1")
    assert stamps(root, params("inner")) == before["inner"]
    after = stamps(root, params("validation"))
    assert all(after[name] != before["validation"][name] for name in ("fusion", "audio", "visual"))


def test_backbones_and_fusion_models_are_stopped_by_the_same_tracks_and_train_on_none_of_them(root: Path) -> None:
    path = root / "data" / "corpus" / "tracks.parquet"
    table = [replace(t, group="both") if t.track in ("train-3", "train-4") else t for t in read_tracks(path)]
    write_tracks(path, table)
    (root / "data" / "features" / "train-7.safetensors").unlink()  # the draw is that of the whole table
    inputs = read_inputs(root, GEOMETRY, stopping="inner")
    stopping = {track.track for track in inputs.stopping}
    assert stopping
    assert not stopping & {track.track for track in inputs.train}
    assert not {track.group for track in inputs.stopping} & {track.group for track in inputs.train}
    assert [track.track for track in inputs.validation] == ["val-0", "val-1", "val-2"]
    for task in backbone_tasks(root, table, params("inner"), root / "work"):
        assert {t.track for t in task.tracks if t.split == "val"} - {"train-7"} == stopping
        assert {t.track for t in task.tracks if t.split == "train"} - {"train-7"} == {t.track for t in inputs.train}


def test_a_fold_of_backbones_is_stopped_by_none_of_the_tracks_that_it_holds_out(root: Path) -> None:
    table = read_tracks(root / "data" / "corpus" / "tracks.parquet")
    for task in backbone_tasks(root, table, params("inner", folds=3), root / "work"):
        assert not {track.group for track in task.tracks} & set(task.held_out)
        assert sum(track.split == "val" for track in task.tracks) == 2
        assert not any(track.track.startswith("val") for track in task.tracks)


def test_folds_of_a_cross_validation_are_stopped_by_training_tracks_of_theirs(root: Path) -> None:
    inputs = read_inputs(root, GEOMETRY, stopping="inner")
    crossval = CrossValidation(params("inner"), Grid(root, inputs, GEOMETRY, 1), [], None)
    folds = crossval.parts(4)
    assert {t.track for fold in folds[1:] for t in fold.validation} == {f"train-{n}" for n in range(12)}
    for fold in folds:
        trained, scored = crossval.trained(fold), {t.track for t in fold.validation}
        sides = [{t.track for t in side} for side in (trained.train, trained.validation)]
        assert not sides[0] & sides[1]
        assert sides[0] | sides[1] == {t.track for t in fold.train}
        assert not scored & (sides[0] | sides[1])
    official = crossval.trained(folds[0])
    assert {t.track for t in official.validation} == {t.track for t in inputs.stopping}


def test_a_tenth_of_the_groups_is_drawn_and_another_video_moves_one_at_most() -> None:
    groups = [f"video {n}" for n in range(356)]
    drawn = stopping_groups(groups)
    assert len(drawn) == 36
    assert drawn == stopping_groups(reversed(groups))
    assert len(drawn - stopping_groups([*groups, "another"])) <= 1
    assert len(stopping_groups(groups[:10])) == 2


def test_few_groups_are_stopped_by_validation_and_that_is_said(
    plant: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = plant(tracks={"train": 9, "val": 2}, seconds=3)
    inputs = read_inputs(root, GEOMETRY, stopping="inner")
    assert inputs.stopping == inputs.validation
    assert inputs.stopping_split == "validation"
    assert "has 9 groups of videos and an inner split needs 10" in capsys.readouterr().out
    assert stamps(root, params("inner")) == stamps(root, params("validation")), "nothing is trained again"


def test_trainings_from_before_the_key_are_found_again() -> None:
    assert "stopping" not in TrainSettings(stopping="inner").identity(exclude=())
    assert TrainSettings().stopping == "validation"


def test_scores_of_epochs_have_the_name_of_their_split() -> None:
    found: dict[str, float] = {}

    class Run(NullLogger):
        def log_metrics(self, metrics, step=None):  # type: ignore[no-untyped-def]
            found.update(metrics)

    StoppingNames(Run()).log_metrics({"loss": 1, "train_ccc_mean": 0.2, "raw_val_ccc_mean": 0.1, "val_ccc_mean": 0.3})
    assert found == {"loss": 1, "train_ccc_mean": 0.2, "raw_stopping_ccc_mean": 0.1, "stopping_ccc_mean": 0.3}


def test_the_table_keeps_its_other_splits(root: Path) -> None:
    table = read_tracks(root / "data" / "corpus" / "tracks.parquet")
    seen = in_place_of_validation(table)
    assert [track.split for track in seen].count("test") == 1
    train, apart = part([track for track in table if track.split == "train"])
    assert [t.track for t in seen if t.split == "train"] == [t.track for t in train]
    assert [t.track for t in seen if t.split == "val"] == [t.track for t in apart]


def test_doctor_says_what_is_set_aside(plant: Callable[..., Path]) -> None:
    for count, status, text in (
        (12, "ok", "2 tracks set aside to stop trainings, 10 tracks left"),
        (9, "warn", "9 gr"),
    ):
        table = read_tracks(plant(tracks={"train": count, "val": 1}, seconds=3) / "data" / "corpus" / "tracks.parquet")
        state = CorpusState(tuple(table), frozenset(), {}, current=True, own={})
        (item,) = _stopping(params("inner"), state)
        assert (item.status, text in item.text) == (status, True)
        assert _stopping(params("validation"), state) == []


def test_what_is_trained_so_says_so(root: Path) -> None:
    asked = params("inner")
    train_models(training_grid(root, asked, "cpu"), asked)
    assert load_fusion(root / "models" / "fusion")[1]["stopping"] == "inner"
    run_evaluation(Stage("evaluate", asked, root, root, root / ".avfusion" / "evaluate"))
    folder = root / "reports" / "evaluate"
    assert json.loads((folder / "protocol.json").read_text())["stopping"] == "inner"
    page = " ".join((folder / "report.html").read_text().split())
    assert "Training saw none of these videos: a tenth of the training groups, set aside, chose its epoch." in page
