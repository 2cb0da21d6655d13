import json
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from avfusion.params.params import load_params
from avfusion.params.record import every_param
from avfusion.runtime.errors import AVFusionError
from avfusion.tracking.backbone_history import log_backbones
from avfusion.tracking.run_book import RunBook
from avfusion.tracking.runs import tracked_run
from avfusion.tracking.store import configure, ensure_experiment
from avfusion.tracking.training_runs import end_other_runs, log_evaluation


def status(run_id: str) -> str:
    return str(MlflowClient().get_run(run_id).info.status)


def test_every_section_is_a_parameter_and_a_stages_own_as_it_was_checked(project: Path) -> None:
    path = project / "params.yaml"
    written = yaml.safe_load(path.read_text())
    written["train"]["lr"] = "1e-4"  # how YAML 1.1 reads it
    written["render"] = {"seed": "broken"}
    del written["train"]["patience"]
    path.write_text(yaml.safe_dump(written | {"surprise": {"key": 1}}))
    own = load_params_of_train(path, written)
    params = every_param(path, own)
    assert set(params) == set(written), "every section, and nothing else"
    assert params["train"]["lr"] == 1e-4
    assert params["train"]["patience"] == 10, "the default"
    assert params["backbones"] == written["backbones"]
    assert params["render"] == {"seed": "broken"}, "no business of this stage"


def load_params_of_train(path: Path, written: dict[str, object]) -> object:
    clean = path.with_name("clean.yaml")
    clean.write_text(yaml.safe_dump(written))
    return load_params(clean, ["common", "train"])


def test_runs_that_other_trainings_left_running_end_killed(project: Path) -> None:
    work = project / ".avfusion" / "train"
    work.mkdir(parents=True)
    configure(project)
    client = MlflowClient()
    experiment = ensure_experiment(client, project)
    running, kept, elsewhere = (client.create_run(experiment).info.run_id for _ in range(3))
    with tracked_run("done", root=project) as done:
        pass
    books = {
        "old": {"train": running, "jca": done.run_id, "concat": "0" * 32},
        "now": {"train": kept},
    }
    for name, book in books.items():
        (work / f"runs-{name}.json").write_text(json.dumps(book))
    end_other_runs(project, work, work / "runs-now.json")
    ends = [status(run_id) for run_id in (running, done.run_id, kept, elsewhere)]
    assert ends == ["KILLED", "FINISHED", "RUNNING", "RUNNING"]
    # Whoever goes back to those params continues their runs.
    book = RunBook(project, work / "runs-old.json", {}, {})
    with book.open("train") as again:
        assert (again.run_id, status(again.run_id)) == (running, "RUNNING")
    assert status(running) == "FINISHED"


def test_backbones_are_in_the_run_once(project: Path) -> None:
    folder, history = project / "models" / "backbones", project / "reports" / "backbones" / "history.csv"
    for stream, best in (("audio", 2), ("visual", 1)):
        record = json.loads((folder / f"{stream}.json").read_text())
        record["metrics"] = {"epoch": best, "val_ccc_mean": best / 8, "val_ccc_arousal": None}
        (folder / f"{stream}.json").write_text(json.dumps(record))
    (folder / "fold-2").mkdir()
    (folder / "fold-2" / "audio.json").write_text(json.dumps({"metrics": {"val_ccc_mean": 0.75}}))
    with tracked_run("train", root=project) as run:
        log_backbones(run, project)  # no history: weights from elsewhere
        assert run.last_step("backbones/audio/val_ccc_mean") is None
        history.parent.mkdir(parents=True)
        history.write_text(
            "epoch,audio_lr,audio_val_ccc_mean,visual_val_ccc_mean\n1,0.5,0.125,0.125\n2,0.25,0.25,\n3,0.125,0.2,\n"
        )
        log_backbones(run, project)
    with tracked_run("train", run_id=run.run_id, root=project) as again:
        log_backbones(again, project)
    points = {
        key: [(point.step, point.value) for point in MlflowClient().get_metric_history(run.run_id, key)]
        for key in MlflowClient().get_run(run.run_id).data.metrics
    }
    assert points == {
        "backbones/audio/lr": [(1, 0.5), (2, 0.25), (3, 0.125)],
        "backbones/audio/val_ccc_mean": [(1, 0.125), (2, 0.25), (3, 0.2)],
        "backbones/visual/val_ccc_mean": [(1, 0.125)],
        "backbones/audio/best/epoch": [(0, 2)],
        "backbones/audio/best/val_ccc_mean": [(0, 0.25)],
        "backbones/fold-2/audio/best/val_ccc_mean": [(0, 0.75)],
        "backbones/visual/best/epoch": [(0, 1)],
        "backbones/visual/best/val_ccc_mean": [(0, 0.125)],
    }
    shown = [item.path for item in MlflowClient().list_artifacts(run.run_id, "backbones")]
    files = ["backbones/audio.json", "backbones/fold-2", "backbones/history.csv", "backbones/visual.json"]
    assert sorted(shown) == files


def test_scores_go_to_the_runs_that_the_store_has(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tracked_run("jca", root=project) as run:
        pass
    with tracked_run("concat", root=project) as deleted:
        pass
    MlflowClient().delete_run(deleted.run_id)
    runs = {"jca": run.run_id, "concat": deleted.run_id, "audio_only": "0" * 32}
    record = project / "reports" / "train" / "run.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"runs": {name: {"run_id": run_id} for name, run_id in runs.items()}}))
    words = {"seen_data": "may have", "calibrated": {"split": "inner", "level": 0.8}}
    scores = {"val": {name: {"ccc_mean": 0.5, "ci95_mean": [0.25, 0.75], **words} for name in runs}}
    facts = project / "protocol.json"
    facts.write_text("{}")
    assert log_evaluation(project, record, scores, {"jca": [facts]}) == ["jca"]
    assert MlflowClient().get_run(run.run_id).data.metrics == {
        "val/ccc_mean": 0.5,
        "val/ci95_mean_low": 0.25,
        "val/ci95_mean_high": 0.75,
        "val/calibrated/level": 0.8,
    }
    tags = MlflowClient().get_run(run.run_id).data.tags
    assert (tags["val/seen_data"], tags["val/calibrated/split"]) == ("may have", "inner")
    assert [item.path for item in MlflowClient().list_artifacts(run.run_id, "evaluate")] == ["evaluate/protocol.json"]

    # What a run has already is not logged again.
    for value, expected in (("first", 0.75), ("first", 0.75), ("second", 0.25)):
        scores["val"]["jca"]["ccc_mean"] = expected
        assert log_evaluation(project, record, scores, {}, tag=("evaluation.content", value)) == ["jca"]
        scores["val"]["jca"]["ccc_mean"] = -1.0
        log_evaluation(project, record, scores, {}, tag=("evaluation.content", value))
        assert MlflowClient().get_run(run.run_id).data.metrics["val/ccc_mean"] == expected

    def fail(*arguments: object) -> None:
        raise MlflowException("connection lost\nand more")

    monkeypatch.setattr(MlflowClient, "get_run", fail)
    with pytest.raises(AVFusionError) as error:
        log_evaluation(project, record, scores, {})
    assert str(error.value) == "the MLflow store cannot be used: connection lost"
    with pytest.raises(AVFusionError, match="connection lost"), tracked_run("jca", run_id=run.run_id, root=project):
        pass
