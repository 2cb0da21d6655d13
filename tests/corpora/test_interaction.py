"""Emotions in an interaction of the streams: what is drawn, and that only products over time tell who is right."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from avfusion.corpora.demo import interaction
from avfusion.corpora.demo.cue_estimates import cue_estimate, visible
from avfusion.corpora.demo.interaction import LAG_S, LEADS, LEVEL
from avfusion.corpora.demo.latents import KNOT_S, STREAMS, Lead, Signals
from avfusion.corpora.demo.lead_oracle import SOURCES, mixture_mean
from avfusion.corpora.demo.oracle import fit_scale, predictions
from avfusion.corpora.demo.plan import draw_corpus, plan_videos, planned_times
from avfusion.corpora.demo.render import render_demo
from avfusion.corpora.demo.truth import ORACLES, read_truth
from avfusion.corpora.settings import RenderSettings
from avfusion.reports.report import metrics_table
from avfusion.runtime.settings import ExecutionSettings
from avfusion.scoring.ccc import ccc
from avfusion.scoring.track_predictions import TrackPredictions

SECONDS = 11.0
TINY = RenderSettings(seed=4, train=2, val=1, test=1, min_seconds=2, max_seconds=2.5, size=96, emotions="interaction")


@pytest.fixture(scope="module")
def tracks() -> list[Signals]:
    """Five tracks with each lead, 11 s long."""
    rngs = [np.random.default_rng([3, number]) for number in range(5 * len(LEADS))]
    return interaction.draw_interacting_split(rngs, [SECONDS] * len(rngs))


@pytest.fixture(scope="module")
def best(tracks: list[Signals]) -> dict[str, np.ndarray]:
    """Posterior means (all knots, 2) by source."""
    return {source: np.concatenate([mixture_mean(track, source) for track in tracks]) for source in SOURCES}


def test_leads_are_spread_evenly() -> None:
    for count in (3, 16, 21):
        leads = interaction.draw_leads(np.random.default_rng(count), count)
        numbers = [leads.count(lead) for lead in LEADS]
        assert sum(numbers) == count
        assert max(numbers) - min(numbers) <= 1
    orders = [interaction.draw_leads(np.random.default_rng(seed), 8) for seed in range(5)]
    assert any(order != orders[0] for order in orders), "which track has which lead is left to chance"


@pytest.mark.parametrize("lead", LEADS, ids=str)
def test_the_follower_shows_the_leaders_past(tracks: list[Signals], lead: Lead) -> None:
    """Late by the lag and, in ironic tracks, with the opposite valence; the leader shows changes as they are."""
    late = round(LAG_S[lead.excited] / KNOT_S)
    follower = next(stream for stream in STREAMS if stream != lead.leader)
    own = [track for track in tracks if track.lead == lead]
    assert len(own) == 5

    def agreement(stream: str, lag: int, target: int) -> float:
        pairs = [
            (track.latents[: len(track.times) - lag, target], cue_estimate(track, stream)[lag:, target])
            for track in own
        ]
        return float(np.corrcoef(np.concatenate(pairs, axis=1))[0, 1])

    irony = -1.0 if lead.ironic else 1.0
    for target, sign in ((0, irony), (1, 1.0)):
        assert agreement(lead.leader, 0, target) > 0.8
        assert sign * agreement(follower, late, target) > 0.8
        assert abs(agreement(follower, 0, target)) < 0.75


def test_levels_go_with_irony_and_lag_and_are_not_shown(tracks: list[Signals]) -> None:
    for value, target in (("ironic", 0), ("excited", 1)):
        groups = [[track for track in tracks if getattr(track.lead, value) is known] for known in (False, True)]
        truth, shown = (
            [np.mean([read(track).mean() for track in group]) for group in groups]
            for read in (
                lambda track, target=target: track.latents[:, target],
                lambda track, target=target: np.stack([cue_estimate(track, stream)[:, target] for stream in STREAMS]),
            )
        )
        assert truth[1] - truth[0] == pytest.approx((-2 if value == "ironic" else 2) * LEVEL, abs=0.25)
        assert shown[1] - shown[0] == pytest.approx(0.0, abs=0.2)


def test_only_products_over_time_tell_who_is_right(tracks: list[Signals], best: dict[str, np.ndarray]) -> None:
    """One clip of both streams, and sums of both over time, stay below all cues by more than .1 in mean CCC."""
    truth = np.concatenate([track.latents for track in tracks])
    scores = {}
    for source, mean in best.items():
        scaled = (mean - mean.mean(axis=0)) / mean.std(axis=0) * truth.std(axis=0) + truth.mean(axis=0)
        scores[source] = np.array([ccc(scaled[:, target], truth[:, target]) for target in range(2)])
    assert (scores["both"] > 0.88).all()
    assert scores["both"].mean() > scores["clip"].mean() + 0.15
    assert scores["both"].mean() > scores["linear"].mean() + 0.1
    assert scores["both"][0] > scores["linear"][0] + 0.2, "irony hides the echo in valence from sums"
    for stream in STREAMS:
        assert scores["both"].mean() > scores[stream].mean() + 0.15
        assert (scores[stream] > 0.2).all(), "each stream alone has something to learn"


def test_oracles_are_best_in_squared_error(tracks: list[Signals], best: dict[str, np.ndarray]) -> None:
    """An error that goes with its own prediction could be made smaller; and more cues are never worse."""
    truth = np.concatenate([track.latents for track in tracks])
    errors = {source: np.square(mean - truth).mean() for source, mean in best.items()}
    assert errors["both"] < errors["linear"] < np.square(truth - truth.mean(axis=0)).mean()
    assert errors["both"] < min(errors["clip"], errors["audio"], errors["visual"])
    for source, mean in best.items():
        slope = np.sum((truth - mean) * mean, axis=0) / np.sum(mean * mean, axis=0)
        np.testing.assert_allclose(slope, 0.0, atol=0.15, err_msg=source)


def test_oracles_do_not_look_at_hidden_cues_and_those_of_a_clip_not_beyond_it(tracks: list[Signals]) -> None:
    track = next(track for track in tracks if not visible(track, "visual").all())
    hidden = ~visible(track, "visual")
    visual = track.cues["visual"].copy()
    visual[hidden] += 10.0
    changed = Signals(track.times, track.latents, {**track.cues, "visual": visual}, track.spans, track.lead)
    for source in SOURCES:
        np.testing.assert_allclose(mixture_mean(changed, source), mixture_mean(track, source), atol=1e-9)
    knot = len(track.times) // 2
    cues = {stream: values.copy() for stream, values in track.cues.items()}
    for values in cues.values():
        values[: knot - 6] += 1.0
        values[knot + 1 :] -= 1.0
    changed = Signals(track.times, track.latents, cues, track.spans, track.lead)
    np.testing.assert_allclose(mixture_mean(changed, "clip")[knot], mixture_mean(track, "clip")[knot], atol=1e-9)
    assert np.abs(mixture_mean(changed, "both")[knot] - mixture_mean(track, "both")[knot]).max() > 0.01


def test_direct_is_the_default_and_draws_no_leads() -> None:
    params = RenderSettings(train=2, val=1, test=1, min_seconds=2, max_seconds=2)
    assert params.emotions == "direct"
    (track,) = draw_corpus(params, plan_videos(params))["demo-003"]
    assert track.lead is None
    assert list(predictions(track, fit_scale([track]), track.times)) == ["audio", "visual", "both"]


def test_a_rendered_corpus_knows_all_oracles(tmp_path: Path) -> None:
    render_demo(tmp_path, TINY, ExecutionSettings(executor="serial"))
    name = "demo-002"
    rows = pq.read_table(tmp_path / "truth" / f"{name}.parquet").num_rows
    truth = read_truth(tmp_path / "truth", name, rows)
    assert truth is not None
    assert list(truth.oracles) == list(ORACLES)
    videos = plan_videos(TINY)
    times = planned_times(next(video for video in videos if video.video == name), TINY.seed)
    drawn = draw_corpus(TINY, videos)[name][0]
    np.testing.assert_allclose(truth.labels, drawn.latents_at(times), atol=1e-4)
    entry = TrackPredictions(
        track=name,
        video=name,
        split="test",
        time_s=np.arange(rows) / 25,
        labels=truth.labels,
        valid=truth.valid,
        presence=np.ones((rows, 2), bool),
        predictions={"jca": truth.labels} | truth.oracles,
        features="",
        conditions=truth.conditions,
    )
    table = metrics_table({"test": [entry]}, ["jca"], windows_s=(0, 0))
    assert list(table["test"]) == ["jca", *ORACLES]
