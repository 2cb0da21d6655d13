"""What an edit makes stale, through real `dvc repro` on a small corpus: the units that it decides, and no others."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.project_copy import Finished, ProjectCopy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SHORT = {"width": 4, "weights": "random", "epochs": 1, "steps_per_epoch": 2, "batch_size": 8}
SMALL: dict[str, dict[str, Any]] = {
    "render": {"train": 2, "val": 1, "test": 1, "min_seconds": 6, "max_seconds": 6, "size": 96},
    "execution": {"executor": "serial"},
    "backbones": {"visual": {"input_size": 32, **SHORT}, "audio": SHORT},
    "features": {"stride": 16},
    "train": {"epochs": 2, "baselines": ["concat"], "batch_size": 8},
    "evaluate": {"trace_plots": 1},
    "robustness": {"tracks": 1, "modality_dropout": 0},
}
BACKBONES = {"visual backbone", "audio backbone"}
MODELS = {"jca", "concat"}
STORES = {"render", "labels", "frames", "contact sheets", "audio", "features", "disturbed features"}
EVERYTHING = STORES | BACKBONES | MODELS
RUN_IDS = "reports/train/run.json"  # of the MLflow store, which is no out


class SmallProject(ProjectCopy):
    """A copy of the project with parameters for minutes of work, and ways to edit it."""

    def set(self, changes: dict[str, dict[str, Any]]) -> None:
        """Change keys of params.yaml."""
        path = self.folder / "params.yaml"
        params = yaml.safe_load(path.read_text())
        for section, values in changes.items():
            for key, value in values.items():
                known = params[section].get(key)
                params[section][key] = known | value if isinstance(value, dict) and value and known else value
        path.write_text(yaml.safe_dump(params))

    def edit(self, module: str, old: str, new: str) -> None:
        """Replace what stands once in a module."""
        path = self.folder / module
        text = path.read_text()
        assert text.count(old) == 1, f"{module} holds {old!r} {text.count(old)} times"
        path.write_text(text.replace(old, new))

    def reword(self) -> None:
        """Reword every docstring, error and printed line of the package and its scripts; add a comment to each."""
        for path in sorted((*self.folder.glob("avfusion/**/*.py"), *self.folder.glob("pipelines/*.py"))):
            text = path.read_text()
            text = re.sub(r'^( *""")(?=\w)', r"\1In other words: ", text, flags=re.MULTILINE)
            text = re.sub(r'((?:raise \w+Error|print)\(\s*f?")', r"\1In other words, ", text)
            path.write_text(f"{text}\n# reworded\n")

    def outs(self, *but: str) -> dict[str, str]:
        """Path to hash of every out in dvc.lock."""
        stages = yaml.safe_load((self.folder / "dvc.lock").read_text())["stages"]
        return {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"] if out["path"] not in but}

    def scores(self) -> dict[str, Any]:
        """The contents of metrics.json for the test split."""
        text = (self.folder / "reports" / "evaluate" / "metrics.json").read_text()
        return dict(json.loads(text)["test"])


def computed(done: Finished) -> set[str]:
    """What stages computed: stores of which a file was made, networks that were trained, videos that were rendered."""
    made = {name for name, count in re.findall(r"(\w[\w ]*): (\d+) made, ", done.output) if count != "0"}
    made |= set(re.findall(r"(render): \d+/", done.output))
    made |= set(re.findall(r"((?:visual|audio) backbone): epoch 1:", done.output))
    return made | set(re.findall(r"(\w+): epoch +1 of ", done.output))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> SmallProject:
    """A project that ran once, with all that it made in git and in a remote; not to be changed."""
    project = SmallProject(ProjectCopy.of_working_tree(tmp_path_factory.mktemp("made") / "project").folder)
    project.set(SMALL)
    project.must("dvc", "remote", "add", "--default", "storage", str(project.folder.parent / "remote"))
    done = project.must("dvc", "repro")
    assert computed(done) == EVERYTHING
    project.must("dvc", "push")
    project.commit()
    return project


@pytest.fixture
def project(finished: SmallProject, tmp_path: Path) -> SmallProject:
    """A copy of the finished project, with its caches and private folders, without its MLflow store."""
    store = shutil.ignore_patterns("mlflow.db*", "artifacts")
    return SmallProject(Path(shutil.copytree(finished.folder, tmp_path / "project", symlinks=True, ignore=store)))


def test_a_second_run_does_nothing(finished: SmallProject) -> None:
    assert finished.must("dvc", "repro").stages == []
    assert finished.must("git", "status", "--short").output == ""


def test_a_model_whose_code_changed_is_trained_again_alone_whatever_is_reworded(project: SmallProject) -> None:
    outs, scores = project.outs(), project.scores()
    attends = "attended_v, map_v = self.visual_attention(x_v, joint, seen_v, valid)\n"
    project.reword()
    project.edit("avfusion/fusion/jca.py", attends, f"{attends}        attended_v = 0.5 * attended_v\n")
    done = project.must("dvc", "repro")
    assert len(done.stages) == 11, "every stage runs, and finds what it made"
    assert computed(done) == {"jca"}
    changed = {path for path, digest in project.outs().items() if digest != outs[path]}
    assert "models/fusion" in changed
    assert all(path.startswith(("models/fusion", "reports/")) for path in changed), changed
    assert project.scores()["concat"] == scores["concat"]
    assert project.scores()["jca"] != scores["jca"]


def test_code_that_gives_the_same_makes_nothing_else_stale(project: SmallProject) -> None:
    outs = project.outs()
    project.edit("avfusion/media/audio_filters.py", "= frame.to_ndarray()\n", "= frame.to_ndarray() * 1\n")
    project.edit("avfusion/data/clips/clips.py", "at = ends + target_offset\n", "at = target_offset + ends\n")
    assert computed(project.must("dvc", "repro", "train")) == {"audio"} | BACKBONES
    changed = {path for path, digest in project.outs(RUN_IDS).items() if digest != outs[path]}
    assert changed <= {"data/audio", "models/backbones"}, "their stamps"


def test_a_network_whose_code_changed_and_what_depends_on_what_it_gives(project: SmallProject) -> None:
    project.edit("avfusion/backbones/audio.py", "x.mean(dim=(2, 3))", "0.5 * x.mean(dim=(2, 3))")
    assert computed(project.must("dvc", "repro", "train")) == {"audio backbone", "features"} | MODELS


def test_parameters_of_one_model_train_one_model(project: SmallProject) -> None:
    outs = project.outs()
    project.set({"train": {"baselines": ["concat", "audio_only"]}})
    assert computed(project.must("dvc", "repro", "train")) == {"audio_only"}
    project.set({"train": {"options": {"k": 8}}})
    assert computed(project.must("dvc", "repro", "train")) == {"jca"}
    project.set({"train": {"options": {}, "baselines": ["concat"]}})
    assert computed(project.must("dvc", "repro", "train")) == set(), "found again"
    models = [path for path in outs if path.startswith("models/")]
    assert {path: project.outs()[path] for path in models} == {path: outs[path] for path in models}
    assert not (project.folder / "models" / "baselines" / "audio_only").exists()


def test_a_clone_that_pulled_makes_nothing_whatever_is_reworded(finished: SmallProject, tmp_path: Path) -> None:
    clone = SmallProject(finished.clone(tmp_path / "clone").folder)
    clone.must("dvc", "pull")
    assert clone.must("dvc", "repro").stages == []
    outs = clone.outs(RUN_IDS)
    clone.reword()
    done = clone.must("dvc", "repro")
    assert len(done.stages) == 11
    assert computed(done) == set()
    assert clone.outs(RUN_IDS) == outs


def test_runs_are_compared_in_a_terminal_of_120_columns(project: SmallProject) -> None:
    project.variables["COLUMNS"] = "120"
    assert computed(project.must("dvc", "exp", "run", "--set-param", "train.lr=3e-4", "--name", "lr-3")) == MODELS
    lines = project.must("dvc", "metrics", "diff").output.splitlines()
    assert re.search(r"^reports/summary\.json +val ", "\n".join(lines), re.MULTILINE)
    shown = re.search(r"\$\(BIN\)/(dvc exp show .*)", (project.folder / "Makefile").read_text().replace("$$", "$"))
    assert shown, "the target experiments"
    table = project.must("bash", "-c", shown[1]).output
    assert "lr-3" in table
    assert "train.lr" in table
    assert "val" in table
    assert max(map(len, (*lines, *table.splitlines()))) <= 120
    assert "train.lr" in project.must("dvc", "params", "diff", "HEAD", "lr-3").output
    for command in (("show",), ("diff", "HEAD", "lr-3")):
        project.must("dvc", "plots", *command)
        assert (project.folder / "dvc_plots" / "index.html").is_file()
