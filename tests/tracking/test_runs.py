import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from avfusion.runtime.errors import AVFusionError
from avfusion.tracking.registry import ensure_registered
from avfusion.tracking.run_book import RunBook
from avfusion.tracking.runs import flatten, tracked_run
from avfusion.tracking.store import artifacts_path, configure, moved_store, refuse_elsewhere
from avfusion.tracking.training_runs import log_evaluation


def test_the_store_is_the_projects_own(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert configure() == f"sqlite:///{project.resolve()}/mlruns/mlflow.db"
    monkeypatch.chdir("/")
    assert configure(project) == f"sqlite:///{project.resolve()}/mlruns/mlflow.db"
    monkeypatch.setenv("DVC_ROOT", str(project))
    assert configure() == f"sqlite:///{project.resolve()}/mlruns/mlflow.db"
    elsewhere = f"sqlite:///{project.resolve()}/other.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", elsewhere)
    assert configure(project) == elsewhere


def test_a_run_holds_params_metrics_tags_data_and_files(project: Path) -> None:
    (project / "dvc.lock").write_text("schema: '2.0'\n")
    (project / "curve.txt").write_text("x")
    params = {"train": {"lr": 1e-3, "options": {}, "baselines": ("concat",)}, "note": None}
    with tracked_run("first", params=params, tags={"corpus": "demo"}) as run:
        run.log_metrics({"loss": 0.5, "val/ccc_mean": 0.25}, step=1)
        run.log_metrics({"loss": 0.25}, step=2)
        run.log_dataset("demo/train", "a" * 64, "data/corpus/tracks.parquet", "training")
        run.log_artifact("curve.txt", "plots")
    stored = MlflowClient().get_run(run.run_id)
    assert stored.info.status == "FINISHED"
    assert stored.data.params == {
        "train.lr": "0.001",
        "train.options": "{}",
        "train.baselines": '["concat"]',
        "note": "null",
    }
    assert stored.data.metrics == {"loss": 0.25, "val/ccc_mean": 0.25}
    assert stored.data.tags["corpus"] == "demo"
    assert stored.data.tags["dvc.lock.md5"] == "8bf2a4444c7ae2c16f126761249fdf06"
    (used,) = stored.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest, used.tags[0].value) == ("demo/train", "a" * 36, "training")
    assert stored.info.artifact_uri.startswith(artifacts_path(project).as_uri())
    assert list(project.glob("mlruns/artifacts/*/artifacts/plots/curve.txt"))


def test_git_and_dvc_tags(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
        return subprocess.run(
            ["git", *identity, *arguments], cwd=project, check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "-q")
    git("add", "dvc.yaml")
    git("commit", "-q", "-m", "one")
    monkeypatch.setenv("DVC_STAGE", "train")
    monkeypatch.setenv("DVC_EXP_NAME", "furry-owl")
    with tracked_run("clean") as clean:
        pass
    (project / "dvc.yaml").write_text("stages: {a: {}}\n")
    with tracked_run("changed") as changed:
        pass
    tags = [MlflowClient().get_run(run.run_id).data.tags for run in (clean, changed)]
    assert [t["git.dirty"] for t in tags] == ["false", "true"]
    assert {t["git.commit"] for t in tags} == {git("rev-parse", "HEAD")}
    assert (tags[0]["dvc.stage"], tags[0]["dvc.exp"]) == ("train", "furry-owl")


def test_a_continued_run_keeps_its_origin(project: Path) -> None:
    def commit() -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
        for arguments in (["init", "-q"], ["add", "dvc.yaml"], [*identity, "commit", "-q", "--allow-empty", "-m", "x"]):
            subprocess.run(["git", *arguments], cwd=project, check=True)
        done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=project, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    first = commit()
    (project / "dvc.lock").write_text("a: 1\n")
    with tracked_run("jca", params={"train": {"lr": 1}}, tags={"corpus": "demo"}) as run:
        begun = MlflowClient().get_run(run.run_id).data.tags
    assert begun["git.commit"] == first
    assert not [key for key in begun if key.startswith("resumed.")]
    second = commit()
    assert second != first
    (project / "dvc.yaml").write_text("stages: {a: {}}\n")
    (project / "dvc.lock").write_text("a: 2\n")
    with tracked_run("jca", run_id=run.run_id, params={"train": {"lr": 1, "seed": 0}}, tags={"corpus": "demo"}):
        pass
    resumed = {"resumed.git.commit": second}
    assert MlflowClient().get_run(run.run_id).data.tags == begun | resumed
    with tracked_run("jca", run_id=run.run_id, params={"train": {"lr": 2, "seed": 0}}):
        pass
    again = MlflowClient().get_run(run.run_id).data
    assert again.params == {"train.lr": "1", "train.seed": "0"}
    assert again.tags == begun | resumed | {"resumed.params": '{"train.lr": "2"}'}


def test_a_failing_block_ends_failed_and_the_same_run_goes_on(project: Path) -> None:
    def killed() -> str:
        with tracked_run("jca", params={"lr": 1}) as run:
            run.log_metrics({"loss": 3.0}, step=1)
            run.log_metrics({"loss": 2.0}, step=2)
            raise KeyError("stop")

    with pytest.raises(KeyError):
        killed()
    (stored,) = MlflowClient().search_runs(["1"])
    assert stored.info.status == "FAILED"
    with tracked_run("jca", run_id=stored.info.run_id, params={"lr": 5, "new": 2}) as run:
        assert run.run_id == stored.info.run_id
        assert MlflowClient().get_run(run.run_id).info.status == "RUNNING"
        assert run.last_step("loss") == 2
        assert run.last_step("absent") is None
        run.log_metrics({"loss": 1.0}, step=3)
    again = MlflowClient().get_run(run.run_id)
    assert again.info.status == "FINISHED"
    assert again.data.params == {"lr": "1", "new": "2"}, "a param keeps its first value"
    assert [m.step for m in MlflowClient().get_metric_history(run.run_id, "loss")] == [1, 2, 3]


def test_a_run_killed_by_signal_is_continued(project: Path) -> None:
    script = (
        "import os, signal\n"
        "from avfusion.tracking.runs import tracked_run\n"
        "with tracked_run('jca') as run:\n"
        "    run.log_metrics({'loss': 1.0}, step=1)\n"
        "    print(run.run_id, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=project, capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    run_id = done.stdout.strip()
    configure()
    assert MlflowClient().get_run(run_id).info.status == "RUNNING"
    with tracked_run("jca", run_id=run_id) as run:
        assert (run.run_id, run.last_step("loss")) == (run_id, 1)
    assert MlflowClient().get_run(run_id).info.status == "FINISHED"


def test_a_run_of_a_lost_store_is_begun_anew(project: Path) -> None:
    with tracked_run("jca", run_id="0" * 32) as run:
        assert run.run_id != "0" * 32
    assert MlflowClient().get_run(run.run_id).info.status == "FINISHED"


def test_children_stand_under_their_parent(project: Path) -> None:
    with tracked_run("training") as parent:
        with tracked_run("jca", parent=parent) as one:
            one.log_metrics({"loss": 1.0}, step=1)
        with tracked_run("concat", parent=parent.run_id) as two:
            pass
        parent.log_metrics({"models": 2.0})
    client = MlflowClient()
    assert {client.get_run(run.run_id).data.tags["mlflow.parentRunId"] for run in (one, two)} == {parent.run_id}
    assert client.get_run(parent.run_id).data.metrics == {"models": 2.0}
    assert client.get_run(one.run_id).data.metrics == {"loss": 1.0}


def test_a_moved_project_is_noticed(project: Path, tmp_path: Path) -> None:
    assert moved_store(project) is None
    with tracked_run("here"):
        pass
    assert moved_store(project) is None
    moved = tmp_path / "moved"
    project.rename(moved)
    problem = moved_store(moved)
    assert problem is not None
    assert str(project / "mlruns" / "artifacts") in problem
    assert "avfusion register" in problem
    with pytest.raises(AVFusionError, match="records its artifacts under"), tracked_run("there", root=moved):
        pass


KILLED = """
import os, signal, sys
from pathlib import Path
from avfusion.tracking.run_book import RunBook
with RunBook(Path.cwd(), Path("book.json"), {}, {}).open("train") as run:
    run.log_metrics({"loss": 1.0}, step=1)
    run.log_artifact("params.yaml")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_copy_never_writes_into_the_original(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does a run go on there that a killed training left unfinished, or an evaluation add to a finished one."""
    killed = subprocess.run([sys.executable, "-c", KILLED], cwd=project, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    copy, link = tmp_path / "copy", tmp_path / "link"
    shutil.copytree(project, copy)
    link.symlink_to(project)
    before = {path: path.stat().st_mtime_ns for path in (project / "mlruns").rglob("*")}
    run_id = json.loads((copy / "book.json").read_text())["train"]
    record = copy / "run.json"
    record.write_text(json.dumps({"runs": {"jca": {"run_id": run_id}}}))

    def resume(root: Path) -> None:
        with RunBook(root, root / "book.json", {}, {}).open("train") as run:
            assert run.run_id == run_id
            run.log_artifact(root / "dvc.yaml")

    works = (
        lambda: resume(copy),
        lambda: log_evaluation(copy, record, {}, {"jca": [copy / "dvc.yaml"]}),
        lambda: ensure_registered(copy / "models" / "fusion", root=copy),
    )
    for uri in (None, f"sqlite:///{copy / 'mlruns' / 'mlflow.db'}"):
        if uri:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        for work in works:
            with pytest.raises(AVFusionError, match="is a copy, and would write into the original: move mlruns"):
                work()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with pytest.raises(AVFusionError, match="is a copy"):  # a run without files has no folder
        refuse_elsewhere(copy, (project / "mlruns/artifacts/0123/artifacts").as_uri())
    assert {path: path.stat().st_mtime_ns for path in (project / "mlruns").rglob("*")} == before
    resume(link)  # the same project by another name
    assert list(project.glob("mlruns/artifacts/*/artifacts/dvc.yaml"))
    for name in ("mlflow.db", "artifacts"):  # as advised
        (copy / "mlruns" / name).rename(copy / name)
    again = KILLED.replace("os.kill(os.getpid(), signal.SIGKILL)", "print(run.run_id)")
    done = subprocess.run([sys.executable, "-c", again], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() not in ("", run_id)
    assert list(copy.glob("mlruns/artifacts/*/artifacts/params.yaml"))


def test_a_store_that_cannot_be_used_is_one_line(project: Path) -> None:
    (project / "mlruns" / "mlflow.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(AVFusionError, match="the MLflow store cannot be used") as error, tracked_run("jca"):
        pass
    assert "\n" not in str(error.value)


def test_flatten() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": {}}, "e": [1]}) == {"a.b.c": 1, "a.d": {}, "e": [1]}
