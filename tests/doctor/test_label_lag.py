"""`avfusion doctor --lag`: what it says and advises."""

from collections.abc import Callable
from pathlib import Path

from avfusion.data.settings import GeometrySettings
from avfusion.doctor import Report
from avfusion.doctor.label_lag import look_at_lag
from avfusion.experiments.lag import TAUS_S
from avfusion.params.params import Params, load_params


def params(valence_s: float = 0.0) -> Params:
    read = load_params(Path(__file__).parents[2] / "params.yaml")
    corpus = read.corpus.model_copy(update={"label_lag_valence_s": valence_s})
    return read.replaced(geometry=GeometrySettings(fps=25), corpus=corpus)


def test_a_lag_is_told_with_the_line_that_applies_it(plant: Callable[..., Path]) -> None:
    root = plant(tracks={"train": 10, "val": 1}, seconds=30, noise=0.5)  # features of the last frame of a clip
    item, numbers = look_at_lag(root, params(valence_s=1.0))
    assert (item.status, item.section, item.name) == ("warn", "corpus", "label lag")
    sentence, valence, arousal = item.text.splitlines()
    assert sentence.startswith("labels lag behind the video: valence +0.6")
    assert "besides the 1 s applied" in sentence
    assert "over 10 groups of videos" in sentence
    assert sentence.endswith("corpus.label_lag_valence_s: 1.6; corpus.label_lag_arousal_s: 0.6")
    assert valence.startswith("valence -2 s ")
    assert arousal.count("█") >= 1
    assert numbers is not None
    assert numbers["valence"]["applied"] == 1.0
    assert len(numbers["arousal"]["correlation"]) == len(numbers["seconds_later"]) == len(TAUS_S)
    assert '"seconds_later"' in Report((item,), lag=numbers).to_json()


def test_without_features_or_with_few_groups_it_says_what_is_needed(plant: Callable[..., Path], tmp_path: Path) -> None:
    item, numbers = look_at_lag(tmp_path, params())
    assert (item.status, numbers) == ("warn", None)
    assert item.text == "needs features: `dvc repro features` makes them"
    root = plant(tracks={"train": 3, "val": 1}, seconds=6)
    item, numbers = look_at_lag(root, params())
    assert numbers is None
    assert "needs 8 groups" in item.text
