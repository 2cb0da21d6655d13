"""What a study leaves: the table, the best point, and params.yaml with it."""

import csv
import difflib
from pathlib import Path

import optuna
import pytest
import yaml
from optuna.trial import TrialState, create_trial

from avfusion.experiments.sweep.plots import PLOTS, plot_study
from avfusion.experiments.sweep.progress import point_text, trial_line
from avfusion.experiments.sweep.results import apply_changes, best_of, train_changes, write_best, write_trials
from avfusion.experiments.sweep.space import SearchSpace, point_of
from avfusion.params.params import load_params
from avfusion.runtime.errors import BadInputError

SOURCE = Path(__file__).parents[3]
BEST = {"model": "concat", "encoder_width": 16, "dropout": 0.3, "lr": 1.0000123e-05, "batch_size": 8}


@pytest.fixture
def searched(space: SearchSpace) -> optuna.Study:
    """Three completed trials, a pruned and a failed one."""
    study = optuna.create_study(direction="maximize", study_name="fusion")
    points = [{"model": "jca", "encoder_width": 8, "k": 4, "dropout": 0.1, "lr": 1e-3, "batch_size": 64}, BEST]
    points.append(points[0] | {"k": 32, "lr": 1e-4})
    distributions = space.distributions()

    def add(point: dict[str, object], state: TrialState, value: float | None, **attributes: object) -> None:
        drawn = {name: distributions[name] for name in point}
        study.add_trial(
            create_trial(state=state, value=value, params=point, distributions=drawn, user_attrs=attributes)
        )

    for point, value in zip(points, (0.25, 0.5, 0.5), strict=True):
        add(point, TrialState.COMPLETE, value, best_epoch=2, history=[{"epoch": 1, "val_ccc_mean": value}], cpu_s=1.5)
    history = [{"epoch": 1, "val_ccc_mean": 0.2}, {"epoch": 2, "val_ccc_mean": 0.1}]
    add(points[0], TrialState.PRUNED, 0.1, history=history)
    add(points[0], TrialState.FAIL, None, error="the loss is not finite")
    return study


def test_the_table_has_a_row_per_trial(searched: optuna.Study, space: SearchSpace, tmp_path: Path) -> None:
    write_trials(tmp_path / "trials.csv", searched.trials, list(space.dimensions))
    rows = list(csv.DictReader((tmp_path / "trials.csv").open()))
    assert [row["state"] for row in rows] == ["complete", "complete", "complete", "pruned", "fail"]
    assert [row["val_ccc_mean"] for row in rows] == ["0.25", "0.5", "0.5", "0.2", ""]
    assert [row["k"] for row in rows] == ["4", "", "32", "4", "4"]
    assert (rows[1]["lr"], rows[1]["cpu_s"]) == ("1e-05", "1.5")
    assert (rows[3]["epochs"], rows[4]["error"]) == ("2", "the loss is not finite")


def test_the_earliest_of_the_best_is_the_best(searched: optuna.Study, space: SearchSpace, tmp_path: Path) -> None:
    best = best_of(searched.trials)
    assert best is not None
    assert best.number == 1
    changes = train_changes(space, point_of(best.params))
    write_best(tmp_path / "best.yaml", searched, best, changes)
    text = (tmp_path / "best.yaml").read_text()
    assert text.startswith("# Trial 1 of study fusion: mean validation CCC 0.5000 at epoch 2.\n")
    assert yaml.safe_load(text)["train"]["options"] == {"encoder_width": 16}
    assert best_of([trial for trial in searched.trials if trial.state != TrialState.COMPLETE]) is None


def test_applying_changes_the_drawn_lines_alone_and_keeps_comments(space: SearchSpace, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    before = (SOURCE / "params.yaml").read_text()
    path.write_text(before)
    changed = apply_changes(path, train_changes(space, point_of(BEST)))
    assert changed == [
        "train.model: jca → concat",
        "train.options: {} → {'encoder_width': 16}",
        "train.batch_size: 64 → 8",
        "train.lr: 0.0001 → 1e-05",
        "train.dropout: 0.6 → 0.3",
    ]
    after = path.read_text()
    lines = [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[0] in "+-"]
    assert [line.split(":")[0].split()[1] for line in lines if line[0] == "+"] == [
        "model", "options", "batch_size", "lr", "dropout"
    ]  # fmt: skip
    assert before.count("#") == after.count("#")
    params = load_params(path)
    assert (params.train.lr, params.train.options, params.train.epochs) == (1e-5, {"encoder_width": 16}, 50)
    assert isinstance(yaml.safe_load(after)["train"]["lr"], float), "a number for YAML 1.1 too"
    assert apply_changes(path, train_changes(space, point_of(BEST))) == []


def test_a_params_file_that_would_not_be_valid_is_left(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text((SOURCE / "params.yaml").read_text())
    with pytest.raises(BadInputError, match=r"train\.dropout is 1\.5"):
        apply_changes(path, {"dropout": 1.5})
    assert path.read_bytes() == (SOURCE / "params.yaml").read_bytes()


def test_pictures_show_the_study(searched: optuna.Study, space: SearchSpace, tmp_path: Path) -> None:
    from matplotlib.image import imread

    paths = plot_study(tmp_path, searched, space)
    assert [path.stem for path in paths] == list(PLOTS)
    for path in paths:
        picture = imread(path)
        assert picture.shape[1] > 500
        assert picture[..., :3].std() > 0.02, path
    first = {path: path.read_bytes() for path in paths}
    assert {path: path.read_bytes() for path in plot_study(tmp_path, searched, space)} == first
    empty = optuna.create_study()
    assert plot_study(tmp_path / "none", empty, space) == []


def test_lines_say_how_trials_ended(searched: optuna.Study) -> None:
    lines = [trial_line(trial, best_of(searched.trials)) for trial in searched.trials]
    assert lines[0].startswith("trial 0: CCC 0.2500 (epoch 2 of 1)  jca, encoder_width 8, k 4, dropout 0.1, lr 0.001")
    assert lines[0].endswith("; best 0.5000, trial 1")
    assert lines[3].startswith("trial 3: pruned at epoch 2  jca, ")
    assert lines[4].startswith("trial 4: failed: the loss is not finite  jca, ")
    assert point_text({"lr": 0.0003142, "model": "jca"}) == "jca, lr 0.0003142"
