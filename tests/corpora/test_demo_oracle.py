"""The generator is worth fusing: what the best predictions from one and from two streams reach."""

import numpy as np
import pytest

from avfusion.corpora.demo import latents as model
from avfusion.corpora.demo.latents import Signals, draw_spans, draw_split, inside
from avfusion.corpora.demo.oracle import fit_scale, oracle_table, posterior_mean, predictions
from avfusion.corpora.demo.plan import draw_corpus, plan_videos
from avfusion.corpora.settings import RenderSettings
from avfusion.scoring.ccc import ccc


def _splits(seed: int) -> tuple[list[Signals], list[Signals]]:
    params = RenderSettings(seed=seed)
    videos = plan_videos(params)
    drawn = draw_corpus(params, videos)
    return tuple(  # type: ignore[return-value]
        [track for video in videos if video.split == split for track in drawn[video.video]]
        for split in ("train", "test")
    )


@pytest.mark.parametrize("seed", [11, 12, 13])
def test_two_streams_beat_each_alone_in_both_targets(seed: int) -> None:
    train, test = _splits(seed)
    table = oracle_table(test, fit_scale(train), ccc)
    for target in range(2):
        assert table["both"][target] >= max(table["audio"][target], table["visual"][target]) + 0.05
        assert table["both"][target] < 0.95
    assert table["visual"][0] > table["audio"][0]
    assert table["audio"][1] > table["visual"][1]


def test_the_audio_oracle_is_clearly_worse_where_the_voice_is_lost() -> None:
    lost, predicted, truth = [], [], []
    for seed in (11, 12, 13):
        train, test = _splits(seed)
        scale = fit_scale(train)
        for track in test:
            lost.append(inside(track.spans.bursts + track.spans.pauses, track.times))
            predicted.append(predictions(track, scale, track.times)["audio"])
            truth.append(track.latents)
    gone = np.concatenate(lost)
    best, true = np.concatenate(predicted), np.concatenate(truth)
    assert 0.25 < gone.mean() < 0.40
    squared = ((best - true) ** 2).mean(axis=1)
    assert squared[gone].mean() > 1.05 * squared[~gone].mean()


def test_the_oracle_does_not_look_at_hidden_cues() -> None:
    rng = np.random.default_rng(5)
    track = draw_split([rng], [30.0])[0]
    hidden = inside(track.spans.occlusions, track.times)
    visual = track.cues["visual"].copy()
    visual[hidden] += 10.0
    changed = Signals(track.times, track.latents, {**track.cues, "visual": visual}, track.spans)
    assert hidden.any()
    np.testing.assert_array_equal(posterior_mean(changed, "both"), posterior_mean(track, "both"))
    np.testing.assert_array_equal(posterior_mean(changed, "audio"), posterior_mean(track, "audio"))


def test_the_posterior_equals_the_one_from_all_cues_at_once() -> None:
    """The two-value statistic loses nothing: the direct formula with every cue as an observation gives the same."""
    spans = model.Spans(((1.0, 2.0),), (), ())
    track = draw_split([np.random.default_rng(2)], [5.0])[0]
    track = Signals(track.times, track.latents, track.cues, spans)
    times = track.times
    prior = np.kron(model.target_correlation(), model.latent_kernel(times))
    error = np.kron(np.diag(np.square(model.SLOW_ERROR_SD["visual"])), model.slow_error_kernel(times))
    noise = model.CUE_NOISE_SD**2 * model.rbf(times, model.CUE_NOISE_LENGTH_S) + model.IDENTITY_OFFSET_SD**2
    loadings = np.array(list(model.VISUAL_LOADINGS.values()))
    design = np.kron(loadings, np.eye(len(times)))
    covariance = design @ (prior + error) @ design.T + np.kron(np.eye(len(loadings)), noise)
    seen = np.tile(~inside(spans.occlusions, times), len(loadings))
    covariance = covariance[np.ix_(seen, seen)] + 1e-4 * np.eye(seen.sum())
    observed = track.cues["visual"].T.reshape(-1)[seen]
    direct = (prior @ design.T[:, seen] @ np.linalg.solve(covariance, observed)).reshape(2, -1).T
    np.testing.assert_allclose(posterior_mean(track, "visual"), direct, atol=1e-6)


def test_moments_of_a_split_are_the_generators() -> None:
    tracks = draw_split([np.random.default_rng([7, i]) for i in range(10)], [28.0] * 10)
    latents = np.concatenate([track.latents for track in tracks])
    np.testing.assert_allclose(latents.mean(axis=0), 0.0, atol=0.01)
    np.testing.assert_allclose(latents.std(axis=0), model.LATENT_SD, rtol=0.06)
    assert np.corrcoef(latents.T)[0, 1] == pytest.approx(model.LATENT_CORRELATION, abs=0.02)


def test_streams_are_lost_at_different_times() -> None:
    shares = []
    for seed in range(30):
        spans = draw_spans(np.random.default_rng(seed), 30.0)
        times = np.arange(0.0, 30.0, 0.02)
        lost = [inside(one, times) for one in (spans.occlusions, spans.bursts, spans.pauses)]
        assert np.sum(lost, axis=0).max() <= 1
        shares.append([one.mean() for one in lost])
    expected = (model.OCCLUDED_SHARE, model.BURST_SHARE, 0.1)
    np.testing.assert_allclose(np.mean(shares, axis=0), expected, atol=0.05)
