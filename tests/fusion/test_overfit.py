"""A model that cannot overfit four small tracks is broken: numeric gate of every fusion model."""

import pytest

from avfusion.fusion.catalogue import find_fusion, fusion_names, takes_maps
from avfusion.training.overfit import BOUND, overfit
from tests.fusion.forms import EVERY

OF_ANY_SIZE = [name for name in fusion_names() if not takes_maps(name)]
ALONE = [name for name in OF_ANY_SIZE if len(find_fusion(name).facts["streams"]) == 1]
# Steps after which models that weigh a clip by its place know both streams, and no stream alone by heart.
BEFORE_BY_HEART = {"grjca": {"steps": 30}, "tagf": {"steps": 30}}


@pytest.mark.parametrize("form", EVERY)
def test_overfits_four_tracks(form: str) -> None:
    name, options = EVERY[form]
    scores = overfit(name, **options)
    assert min(scores) > BOUND, scores


@pytest.mark.parametrize("hidden", ["audio", "visual"])
@pytest.mark.parametrize("name", [name for name in OF_ANY_SIZE if name not in ALONE])
def test_does_not_without_one_of_the_streams(name: str, hidden: str) -> None:
    steps = BEFORE_BY_HEART.get(name, {})
    assert max(overfit(name, hidden=hidden, **steps)) < BOUND
    if steps and hidden == "audio":
        assert min(overfit(name, **steps)) > BOUND


@pytest.mark.parametrize("name", ALONE)
def test_one_stream_does_not_tell_what_stands_in_the_other(name: str) -> None:
    other = "visual" if name == "audio_only" else "audio"
    assert max(overfit(name, streams=(other,))) < 0.7
