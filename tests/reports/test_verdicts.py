"""What is said of a difference, over a grid of situations."""

import pytest

from avfusion.reports.verdicts import ONE_TRAINING, Verdict, verdict, verdict_sentences


def entry(difference, ci95, **more):
    return {"difference": difference, "ci95": ci95, **more}


ABOVE, BELOW, AROUND, TIE = (
    entry(0.1, [0.02, 0.18]),
    entry(-0.1, [-0.18, -0.02]),
    entry(0.01, [-0.03, 0.05]),
    entry(0.0, [0.0, 0.0]),
)


@pytest.mark.parametrize(
    ("found", "seeds", "said"),
    [
        (ABOVE, 3, Verdict.BETTER),
        (BELOW, 3, Verdict.WORSE),
        (ABOVE, 2, Verdict.BETTER),
        (ABOVE, 1, Verdict.AHEAD),
        (BELOW, 1, Verdict.BEHIND),
        *((found, seeds, Verdict.MAY_BE_LUCK) for found in (AROUND, TIE) for seeds in (1, 3)),
        (entry(0.1, [0.0, 0.2]), 3, Verdict.MAY_BE_LUCK),
        (entry(0.3, None), 3, Verdict.TOO_FEW_VIDEOS),
        (entry(-0.3, None), 1, Verdict.TOO_FEW_VIDEOS),
        (entry(None, None), 3, Verdict.NOT_SCORED),
        (ABOVE | {"p_holm": 0.049}, 3, Verdict.BETTER),
        (ABOVE | {"p_holm": 0.05}, 3, Verdict.MAY_BE_LUCK),
        (BELOW | {"p_holm": 0.2}, 1, Verdict.MAY_BE_LUCK),
        (ABOVE | {"p_holm": None}, 3, Verdict.BETTER),
    ],
)
def test_every_situation_has_its_verdict(found, seeds, said):
    assert verdict(found, seeds=seeds) is said


def test_sentences_say_all_that_was_found_and_nothing_more():
    entries = {"late": ABOVE, "audio only": ABOVE | {"difference": 0.2}, "concat": AROUND, "visual only": BELOW}
    assert verdict_sentences(entries, seeds=3) == [
        "It is better than late (+0.10) and audio only (+0.20).",
        "It is worse than visual only (-0.10).",
        "The difference to concat (+0.01) may be luck.",
    ]
    once = verdict_sentences(entries, seeds=1)
    assert once == [
        "In this one training it is ahead of late (+0.10) and audio only (+0.20).",
        "In this one training it is behind visual only (-0.10).",
        "The difference to concat (+0.01) may be luck.",
        ONE_TRAINING,
    ]
    assert not any("better" in text or "worse" in text for text in once)
    two_videos = {"audio only": entry(-0.17, None), "concat": entry(None, None)}
    assert verdict_sentences(two_videos, seeds=1) == ["The videos are too few to compare it with audio only (-0.17)."]
    assert verdict_sentences({}, seeds=1) == []
