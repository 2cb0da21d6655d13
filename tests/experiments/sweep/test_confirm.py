"""The best point of a study against the paper's, trained with new seeds."""

import json
from pathlib import Path

import optuna
import pytest
from typer.testing import CliRunner

from avfusion.cli import app
from avfusion.experiments.sweep.confirm import BEST, PAPER, SECTIONS, compare_points, study_points
from avfusion.experiments.sweep.space import SearchSpace
from avfusion.experiments.sweep.storage import default_storage, open_storage
from avfusion.experiments.sweep.study import enqueue_paper, open_study
from avfusion.params.params import load_params
from avfusion.runtime.errors import BadInputError


@pytest.mark.usefixtures("few_videos_are_enough")
def test_points_are_compared_on_both_splits_with_new_seeds(sweep_project: Path) -> None:
    params = load_params(sweep_project / "params.yaml", SECTIONS)
    space = SearchSpace.of(params.sweep.space, params.train)
    url = default_storage(sweep_project)
    study = open_study(open_storage(url, 30), params.sweep, space)
    enqueue_paper(study, space)

    def first_is_best(trial: optuna.Trial) -> float:
        space.suggest(trial)
        return -trial.number

    study.optimize(first_is_best, n_trials=1)
    with pytest.raises(BadInputError, match="study fusion has no completed trial"):
        study_points(params, url)  # but the paper's
    study.optimize(first_is_best, n_trials=2)
    points = study_points(params, url)
    assert points[PAPER] == space.paper_point()[0]
    assert points[BEST]["lr"] == float(f"{study.trials[1].params['lr']:.4g}")

    configs = {name: space.train_config(point) for name, point in points.items()}
    results = compare_points(sweep_project, params, configs, (1, 2))
    for split, videos in (("val", 2), ("test", 2)):
        result = results[split]
        assert result["videos"] == videos
        means = [result["models"][name]["ccc_mean"]["mean"] for name in (BEST, PAPER)]
        scores = result["models"][PAPER]["ccc_mean"]["seeds"]
        assert scores[0] != scores[1]
        found = result["differences"][f"{BEST} - {PAPER}"]["mean"]
        assert found["difference"] == pytest.approx(means[0] - means[1])
        assert found["ci95"][0] <= found["difference"] <= found["ci95"][1]

    # The command finds these trainings again, and adds a seed.
    done = CliRunner().invoke(app, ["sweep", "--confirm", "--seeds", "1,2,3"])
    assert done.exit_code == 0, done.output
    assert "6 trainings: 4 found, 2 to do" in done.output
    assert f"| {BEST} - {PAPER} | " in done.output
    written = json.loads((sweep_project / "reports" / "sweep" / "confirmation.json").read_text())
    assert written["points"][BEST] == points[BEST]
    seeds = written["test"]["models"][PAPER]["ccc_mean"]["seeds"]
    assert seeds[:2] == pytest.approx(scores, abs=1e-6)
    assert len(seeds) == 3
